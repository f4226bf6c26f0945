//! What an answer that is no success, or no answer at all, says.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::{AGE, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};

use super::attempt::{Attempt, Fault};
use super::clip::clip;
use super::error_body::ErrorBody;
use super::meaning::Sense;
use super::wait::{Wait, http_date};
use crate::clock;

/// What is read from an answer before its body.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) date: Option<Timestamp>,
    /// It was made some time ago, and comes from a cache.
    pub(super) stored: bool,
    pub(super) request_id: Option<String>,
    /// The waits that it asks for.
    pub(super) waits: Vec<Wait>,
    pub(super) content_type: Option<String>,
}

impl Head {
    pub(super) fn of(response: &Response) -> Self {
        let headers = response.headers();
        let date = header(headers, DATE.as_str()).and_then(|date| http_date(&date));
        Self {
            status: response.status().as_u16(),
            date,
            stored: header(headers, AGE.as_str()).is_some_and(|age| age != "0"),
            request_id: header(headers, "x-request-id").map(|id| clip(&id)),
            waits: headers
                .get_all(RETRY_AFTER)
                .iter()
                .filter_map(|wait| Wait::read(wait.to_str().ok()?))
                .collect(),
            content_type: header(headers, CONTENT_TYPE.as_str()).map(|kind| clip(&kind)),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// The fault of an answer whose status is not 2xx, or that is no valid success.
fn of_answer(head: &Head, body: &ErrorBody, sense: Sense) -> Fault {
    Fault { retry_after: longest(head, body), ..Fault::of(sense, line(head, body)) }
}

/// Notes an answer that is no success, with what its body says of itself.
pub(super) fn refuse<T>(
    head: &Head,
    text: &str,
    sense: impl FnOnce(&ErrorBody) -> Sense,
    attempt: &mut Attempt<T>,
) {
    let body = ErrorBody::read(text, head.content_type.as_deref());
    attempt.timestamp = body.timestamp;
    attempt.request_id = body.request_id.clone().or(attempt.request_id.take());
    let sense = sense(&body);
    attempt.result = Err(of_answer(head, &body, sense));
}

/// Notes a 2xx that is no answer, and what it was instead.
pub(super) fn misread<T>(head: &Head, text: &str, reason: &str, attempt: &mut Attempt<T>) {
    refuse(head, text, |_| Sense::MALFORMED, attempt);
    if let Err(fault) = &mut attempt.result {
        fault.message = undocumented(&format!("{reason}: {}", fault.message));
    }
}

pub(super) fn undocumented(reason: &str) -> String {
    clip(&format!("not the documented answer: {reason}"))
}

/// Of all the waits that an answer asks for, the longest. Moments are those of its own `Date`.
fn longest(head: &Head, body: &ErrorBody) -> Option<Duration> {
    let now = head.date.or(body.timestamp).unwrap_or_else(clock::now);
    head.waits.iter().chain(&body.waits).map(|wait| wait.from(now)).max()
}

/// The API's own words; what lies before it speaks for the status at most.
fn line(head: &Head, body: &ErrorBody) -> String {
    if let (true, Some(line)) = (body.json, &body.line) {
        return line.clone();
    }
    let reason = reqwest::StatusCode::from_u16(head.status).ok().and_then(|status| status.canonical_reason());
    let kind = match (&head.content_type, body.json) {
        (_, true) => "JSON without a message",
        (Some(kind), false) => kind,
        (None, false) => "no content type",
    };
    let status = format!("HTTP {} {}", head.status, reason.unwrap_or("unknown status"));
    match &body.line {
        Some(line) => clip(&format!("{status}: {line}")),
        None => format!("{status} ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> Head {
        Head { status, content_type: Some("text/html".into()), ..Head::default() }
    }

    fn fault(status: u16, body: &str) -> Fault {
        let body = ErrorBody::read(body, None);
        of_answer(&head(status), &body, Sense::of_error(status, &body))
    }

    #[test]
    fn the_apis_own_words_stand_alone_and_what_others_say_stands_behind_the_status() {
        for (status, body, message) in [
            (404, r#"{"error":"Not Found","message":"no such VM"}"#, "no such VM"),
            (400, r#"{"error":"Bad Request"}"#, "Bad Request"),
            (599, "{}", "HTTP 599 unknown status (JSON without a message)"),
            (502, "", "HTTP 502 Bad Gateway (text/html)"),
            (502, "<html>Bad gateway</html>", "HTTP 502 Bad Gateway (text/html)"),
            (520, "<title>No answer</title>", "HTTP 520 unknown status: No answer"),
            (403, "error code: 1020\nmore", "HTTP 403 Forbidden: error code: 1020"),
            (502, "null", "HTTP 502 Bad Gateway (text/html)"),
        ] {
            assert_eq!(fault(status, body).message, message, "{body}");
        }
    }

    #[test]
    fn of_all_the_waits_that_an_answer_asks_for_the_longest_counts() {
        let date = http_date("Mon, 23 Nov 2026 02:15:00 GMT");
        for (headers, body, seconds) in [
            (&["3"][..], r#"{"retryAfter":"7"}"#, Some(7)),
            (&["9"], r#"{"retryAfter":"7"}"#, Some(9)),
            (&["2", "Mon, 23 Nov 2026 02:15:05 GMT"], "{}", Some(5)),
            (&["soon"], r#"{"retry_after":1795400104}"#, Some(4)),
            (&["-1"], "<html>", None),
        ] {
            let waits = headers.iter().filter_map(|text| Wait::read(text)).collect();
            let head = Head { date, waits, ..head(429) };
            let body = ErrorBody::read(body, None);
            let fault = of_answer(&head, &body, Sense::of_error(429, &body));
            assert_eq!(fault.retry_after, seconds.map(Duration::from_secs), "{headers:?} {body:?}");
        }
    }

    #[test]
    fn a_conflict_is_unanswered_by_its_code() {
        assert!(fault(409, r#"{"code":"upstream_failed"}"#).may_have_applied);
        assert!(!fault(409, r#"{"code":"vps_not_ready"}"#).may_have_applied);
    }
}
