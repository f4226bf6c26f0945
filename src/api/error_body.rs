//! What the body of an answer without success says: the API's own words for people, and what a retry depends on.

use std::borrow::Cow;

use jiff::Timestamp;

use super::body;
use super::clip::clip;
use super::object::{Object, Raw};
use super::wait::Wait;
use crate::allocation::Moment;

/// The body of an error: v1's `{error, message, code, …}`, an RFC 9457 problem document, any other JSON, or text.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    /// The API itself answered, not the edge before it.
    pub(super) json: bool,
    /// A line for people, if it has one.
    pub(super) line: Option<String>,
    /// In lower case.
    pub(super) code: Option<String>,
    /// The waits that it asks for.
    pub(super) waits: Vec<Wait>,
    pub(super) request_id: Option<String>,
    pub(super) timestamp: Option<Timestamp>,
}

impl ErrorBody {
    /// What is said to be JSON and begins like it is JSON, too, however broken.
    pub(super) fn read(text: &str, content_type: Option<&str>) -> Self {
        let json = body::spaced(text.trim());
        let (is_object, is_list) = (json.starts_with('{'), json.starts_with('['));
        match Raw::read(&json) {
            Some(value) if is_object => {
                value.object().map(|object| Self::of_object(&object)).unwrap_or_default()
            }
            Some(value) if is_list || json.starts_with('"') => {
                Self { json: true, line: words(value, DEPTH).map(|line| clip(&line)), ..Self::default() }
            }
            Some(_) => Self::default(),
            None => Self {
                json: (is_object || is_list) && content_type.is_some_and(names_json),
                line: plain(text).map(|line| clip(&line)),
                ..Self::default()
            },
        }
    }

    fn of_object(object: &Object<'_>) -> Self {
        let string = |name: &str| object.get(name)?.string();
        let nested = || object.get("error")?.object()?.get("code")?.string();
        Self {
            json: true,
            line: words_of(object, DEPTH).map(|line| clip(&line)),
            code: string("code").or_else(nested).map(|code| clip(&code).to_lowercase()),
            waits: waits(object),
            request_id: object.get("requestId").and_then(scalar).map(|id| clip(&id)),
            timestamp: object
                .get("timestamp")
                .and_then(scalar)
                .and_then(|at| Moment::from(at.into_owned()).at()),
        }
    }
}

fn names_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase().ends_with("json")
}

/// A text, or a number as it is written.
fn scalar(value: Raw<'_>) -> Option<Cow<'_, str>> {
    value.string().or(value.number().map(Cow::Borrowed))
}

/// Where it says when to come back.
const WAITS: [&str; 2] = ["retryAfter", "retry_after"];

/// Those of the body itself, and of what it nests.
fn waits(object: &Object<'_>) -> Vec<Wait> {
    let of = |object: &Object<'_>| {
        WAITS.map(|name| object.get(name).and_then(wait)).into_iter().flatten().collect()
    };
    let nested = ["error", "details"].iter().filter_map(|name| object.get(name)?.object());
    let nested: Vec<Wait> = nested.flat_map(|object| -> Vec<Wait> { of(&object) }).collect();
    [of(object), nested].concat()
}

fn wait(value: Raw<'_>) -> Option<Wait> {
    Wait::read(&scalar(value)?)
}

/// Where a text for people stands, the best first.
const WORDS: [&str; 7] =
    ["detail", "message", "error", "title", "error_description", "description", "reason"];

/// Where each thing that is wrong is told.
const DETAILS: [&str; 2] = ["errors", "details"];

/// What is no text for people, whatever it says.
const NO_WORDS: [&str; 13] = [
    "code",
    "error_code",
    "instance",
    "method",
    "path",
    "requestId",
    "request_id",
    "status",
    "statusCode",
    "timestamp",
    "trace_id",
    "traceId",
    "type",
];

/// Objects and lists within each other so many times say no more.
const DEPTH: u8 = 6;

/// Elements of a list that are told.
const ELEMENTS: usize = 5;

fn words(value: Raw<'_>, depth: u8) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    if let Some(text) = value.string() {
        let text = text.trim();
        return (!text.is_empty()).then(|| text.to_owned());
    }
    if let Some(object) = value.object() {
        return words_of(&object, depth);
    }
    let all = value.list()?.into_iter().filter_map(|element| words(element, depth));
    joined(all.take(ELEMENTS))
}

/// The best text of an object, with each thing that is wrong; where there is none, all that it says.
fn words_of(object: &Object<'_>, depth: u8) -> Option<String> {
    let at = |name: &&str| words(object.get(name)?, depth);
    let said: Vec<String> = WORDS.iter().filter_map(at).collect();
    let best = said.iter().find(|text| !is_a_mere_status(text));
    match (best, DETAILS.iter().find_map(at)) {
        (Some(best), Some(details)) if !best.contains(&details) => Some(format!("{best}: {details}")),
        (Some(best), _) => Some(best.clone()),
        (None, Some(details)) => Some(details),
        (None, None) => others(object, depth).or_else(|| at(&"data")).or_else(|| said.into_iter().next()),
    }
}

/// The texts of the fields that no convention names. Objects are left out: they are what an answer is about.
fn others(object: &Object<'_>, depth: u8) -> Option<String> {
    let known = |name: &str| WORDS.contains(&name) || NO_WORDS.contains(&name);
    let others = object.fields().filter(|(name, value)| !known(name) && value.object().is_none());
    let others = others.filter_map(|(name, value)| Some(format!("{name}: {}", words(value, depth)?)));
    joined(others.take(ELEMENTS))
}

fn joined(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// `Bad Request` says no more than 400.
fn is_a_mere_status(text: &str) -> bool {
    let mut reasons =
        (400..600).filter_map(|status| reqwest::StatusCode::from_u16(status).ok()?.canonical_reason());
    text.eq_ignore_ascii_case("error") || reasons.any(|reason| text.eq_ignore_ascii_case(reason))
}

/// The title of a page, or the first line of a text that is none. What has a NUL in it is neither.
fn plain(text: &str) -> Option<String> {
    if text.contains('\0') {
        return None;
    }
    match text.trim_start().starts_with('<') {
        true => title(text),
        false => text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned),
    }
}

fn title(html: &str) -> Option<String> {
    // Of the same length in bytes, so that a place in it is the same place in the page.
    let lower = html.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let words: Vec<&str> = html[start..end].split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ErrorBody {
        ErrorBody::read(text, None)
    }

    fn line(text: &str) -> Option<String> {
        read(text).line
    }

    #[test]
    fn the_apis_own_words_are_found_wherever_it_puts_them() {
        for (body, expected) in [
            (r#"{"error":"Not Found","message":"VM not found","code":"NOT_FOUND"}"#, "VM not found"),
            (r#"{"type":"t","title":"Conflict","detail":"still building"}"#, "still building"),
            (r#"{"error":"Bad Request","message":["no vmid","no action"]}"#, "no vmid; no action"),
            (r#"{"message":{"vmid":["must be a number"]}}"#, "vmid: must be a number"),
            (r#"{"message":{"en":"no such VM"},"error":true}"#, "en: no such VM"),
            (r#"{"error":{"code":"locked","message":"it is locked"}}"#, "it is locked"),
            (r#"{"error":{"message":{"detail":"deep"}}}"#, "deep"),
            (r#"{"title":"Bad Request","errors":[{"pointer":"/a","detail":"A"},{"detail":"B"}]}"#, "A; B"),
            (r#"{"detail":"not valid","errors":[{"detail":"A"}]}"#, "not valid: A"),
            (r#"{"message":"not valid: A","errors":["A"]}"#, "not valid: A"),
            (r#"{"errors":{"vmid":["too large","too odd"]}}"#, "vmid: too large; too odd"),
            (r#"{"error":"bad request","reason":"the pool is empty"}"#, "the pool is empty"),
            (r#"{"error":"Bad Request","hint":"ask again","status":"x"}"#, "hint: ask again"),
            (r#"{"error":"invalid_key","error_description":"it has expired"}"#, "invalid_key"),
            (r#"{"success":false,"data":{"message":"no prefix left"}}"#, "no prefix left"),
            (r#"{"error":"Bad Request","code":"X","data":null}"#, "Bad Request"),
            (r#"{"error":"Bad Request","data":{"message":"no prefix left"}}"#, "no prefix left"),
            (r#"{"message":" ","error":"boom"}"#, "boom"),
            (r#"{"message":{"a":1},"error":"boom"}"#, "boom"),
            (r#"[{"message":"first"},{"message":"second"}]"#, "first; second"),
            (r#""a text""#, "a text"),
            ("{\"message\":\"two\nlines\"}", "two lines"),
            (r#"{"message":"half \ud800"}"#, "half \u{fffd}\u{fffd}\u{fffd}"),
            ("\n  no such VM\nsecond line", "no such VM"),
            ("error code: 1020", "error code: 1020"),
            ("<!DOCTYPE html><html><head><TITLE lang=\"en\">\n 520:\n unknown </Title>", "520: unknown"),
        ] {
            assert_eq!(line(body).as_deref(), Some(expected), "{body}");
        }
        for body in
            ["", " \r\n", "{}", "[]", "[1]", "null", "{\"code\":\"X\"}", "<html>no title</html>", "<title>"]
        {
            assert!(line(body).is_none_or(|line| line == body), "{body}");
        }
        assert_eq!(line("\u{1}\0\u{2}"), None);
    }

    #[test]
    fn nesting_without_end_and_lists_without_end_say_no_more_than_is_useful() {
        let deep = format!(r#"{{"message":{}"x"{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(line(&deep), None);
        let long = format!(r#"{{"errors":[{}"last"]}}"#, r#""one","#.repeat(6_000));
        assert_eq!(line(&long).as_deref(), Some("one; one; one; one; one"));
    }

    #[test]
    fn only_json_is_the_apis_own() {
        for (text, json) in [
            (r#"{"error":"e"}"#, true),
            ("\r\n {} \n", true),
            ("[1]", true),
            (r#""unauthorized""#, true),
            ("", false),
            ("null", false),
            ("404", false),
            ("<html>{}</html>", false),
            (r#"{"error":"#, false),
            (r#"{"error":"e"} trailing"#, false),
        ] {
            assert_eq!(read(text).json, json, "{text}");
        }
    }

    #[test]
    fn broken_json_is_json_where_its_content_type_says_so() {
        for (text, content_type, json) in [
            (r#"{"error":"e",}"#, "application/json", true),
            (r#"{"error":"#, "Application/Problem+JSON; charset=utf-8", true),
            ("{'error':'e'}", "text/json", true),
            ("[{]", "application/json", true),
            (r#"{"error":"e",}"#, "text/html; note=json", false),
            ("<html>no</html>", "application/json", false),
            ("", "application/json", false),
        ] {
            assert_eq!(ErrorBody::read(text, Some(content_type)).json, json, "{text} {content_type}");
        }
    }

    #[test]
    fn a_code_an_id_and_a_time_are_read_where_they_are() {
        let all = read(
            r#"{"code":"VPS_NOT_READY","requestId":"r1","timestamp":"2026-02-10T00:00:01Z","retryAfter":7}"#,
        );
        assert_eq!(all.code.as_deref(), Some("vps_not_ready"));
        assert_eq!(all.request_id.as_deref(), Some("r1"));
        assert_eq!(all.timestamp, "2026-02-10T00:00:01Z".parse().ok());
        assert_eq!(all.waits, [Wait::For(std::time::Duration::from_secs(7))]);
        let nested = read(r#"{"error":{"code":"upstream_failed"},"code":5,"requestId":[]}"#);
        assert_eq!((nested.code.as_deref(), nested.request_id), (Some("upstream_failed"), None));
        let numbers = read(r#"{"requestId":7,"timestamp":1770681601}"#);
        assert_eq!((numbers.request_id.as_deref(), numbers.timestamp), (Some("7"), all.timestamp));
    }

    #[test]
    fn the_body_tells_the_wait() {
        let seconds = |seconds| Wait::For(std::time::Duration::from_secs(seconds));
        for (body, expected) in [
            (r#"{"retryAfter":"7"}"#, vec![seconds(7)]),
            (r#"{"retryAfter":7}"#, vec![seconds(7)]),
            (r#"{"retryAfter":1.5}"#, vec![seconds(2)]),
            (r#"{"retry_after":"3s"}"#, vec![seconds(3)]),
            (r#"{"retry_after":4,"retryAfter":"2"}"#, vec![seconds(2), seconds(4)]),
            (r#"{"retryAfter":1795400110}"#, vec![Wait::Until("2026-11-23T02:15:10Z".parse().unwrap())]),
            (r#"{"retryAfter":"soon"}"#, vec![]),
            (r#"{"retryAfter":-1}"#, vec![]),
            (r#"{"retryAfter":null,"retry_after":[3]}"#, vec![]),
            ("{}", vec![]),
        ] {
            assert_eq!(read(body).waits, expected, "{body}");
        }
    }
}
