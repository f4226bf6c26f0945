//! The v1 dialect: `POST /api/vm/{vmid}/routed-ipv6`, its answers and their traps.

use super::attempt::{Attempt, Fault, Success};
use super::body::spaced;
use super::fault::{self, Head};
use super::fields::{Absence, Tolerated, address, boolean, contradiction, object};
use super::meaning::Sense;
use super::object::Object;
use crate::allocation::Allocation;
use crate::outcome::Answer;

/// The header that carries the key.
pub(super) const KEY: &str = "x-api-key";

/// The path of all VMs.
pub(super) const VMS: &str = "/api/vm";

/// Reads a 2xx into `attempt`. `success`, `created`, `prefix` and `next_hop` decide; the rest is tolerated.
pub(super) fn read(head: &Head, text: &str, attempt: &mut Attempt) {
    let json = spaced(text);
    let envelope = Object::read(&json).ok_or_else(|| "no JSON object".to_owned());
    match envelope.and_then(|envelope| Ok((boolean(&envelope, "success")?, envelope))) {
        Ok((true, envelope)) => accept(head, &envelope, attempt),
        Ok((false, _)) => fault::refuse(head, text, |_| Sense::REFUSED, attempt),
        Err(reason) => fault::misread(head, text, &reason, attempt),
    }
}

fn accept(head: &Head, envelope: &Object<'_>, attempt: &mut Attempt) {
    let mut rest = Tolerated::of(envelope);
    attempt.timestamp = rest.moment("timestamp", Absence::Fine).and_then(|at| at.at());
    attempt.request_id = rest.id("requestId", Absence::Fine).or(attempt.request_id.take());
    attempt.result = answer(head.status, envelope, rest.warnings)
        .map(Success::Called)
        .map_err(|reason| Fault::malformed(fault::undocumented(&reason)));
}

/// The answer of an envelope that says `success: true`, or what is wrong with it.
fn answer(status: u16, envelope: &Object<'_>, mut warnings: Vec<String>) -> Result<Answer, String> {
    let data = object(envelope, "data")?;
    let created = boolean(&data, "created")?;
    let wire = object(&data, "allocation")?;
    let mut rest = Tolerated::of(&wire);
    let allocation = Allocation {
        prefix: address(&wire, "prefix")?,
        next_hop: address(&wire, "next_hop").map(Some)?,
        id: rest.id("id", Absence::Odd),
        rack_id: rest.id("rack_id", Absence::Odd),
        client_id: rest.id("client_id", Absence::Odd),
        account_id: rest.id("account_id", Absence::Odd),
        proxmox_vm_id: rest.id("proxmox_vm_id", Absence::Odd),
        status: rest.word("status", Absence::Odd),
        allocated_at: rest.moment("allocated_at", Absence::Odd),
        released_at: rest.moment("released_at", Absence::Fine),
        cooldown_until: rest.moment("cooldown_until", Absence::Fine),
        created_at: rest.moment("created_at", Absence::Odd),
        updated_at: rest.moment("updated_at", Absence::Odd),
        metadata_updated_at: rest.moment_within("metadata", "updatedAt"),
    };
    rest.check_length("prefix_length", Absence::Odd, &allocation.prefix);
    warnings.append(&mut rest.warnings);
    warnings.extend(contradiction(created, status));
    Ok(Answer { created, allocation, warnings })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::allocation::Moment;
    use crate::api::Fault;
    use crate::api::dialect::{self, Purpose};
    use crate::dialect::Dialect;
    use crate::outcome::Failure;

    fn documented() -> Value {
        json!({
            "success": true,
            "timestamp": "2026-02-10T00:00:00.000Z",
            "requestId": "2121ae20-bd9d-41e9-aeeb-5dd1dd1a24ba",
            "data": {
                "created": false,
                "allocation": {
                    "id": 3, "rack_id": "dc1r28", "client_id": "30000", "account_id": "20000",
                    "proxmox_vm_id": "10048", "prefix": "2001:db8::1/48", "prefix_length": 48,
                    "next_hop": "2001:db8::1", "status": "active",
                    "allocated_at": "2026-02-10 00:00:00.658429+00", "released_at": null, "cooldown_until": null,
                    "metadata": { "updatedAt": "2026-02-10T00:00:00.000Z", "updatedBy": "1" },
                    "created_at": "2026-02-10 00:00:00.658429+00", "updated_at": "2026-02-10 00:00:00.658429+00"
                }
            }
        })
    }

    /// A call that left at the beginning of time, and was answered so at once.
    pub(crate) fn attempt(status: u16, body: &[u8]) -> Attempt {
        let mut attempt =
            Attempt { status: Some(status), ..Attempt::unanswered(jiff::Timestamp::UNIX_EPOCH) };
        let text = crate::api::body::decode(body);
        dialect::read(Dialect::V1, Purpose::Call, &Head { status, ..Head::default() }, &text, &mut attempt);
        attempt
    }

    /// The documented success, with `edit` applied to its allocation.
    fn with_allocation(edit: impl FnOnce(&mut Value)) -> Attempt {
        let mut body = documented();
        edit(&mut body["data"]["allocation"]);
        attempt(200, body.to_string().as_bytes())
    }

    fn answer(attempt: Attempt) -> Answer {
        attempt.result.unwrap().answer()
    }

    fn fault(attempt: Attempt) -> Fault {
        attempt.result.unwrap_err()
    }

    #[test]
    fn the_documented_answer_is_read_whole() {
        let attempt = attempt(200, documented().to_string().as_bytes());
        assert_eq!(attempt.request_id.as_deref(), Some("2121ae20-bd9d-41e9-aeeb-5dd1dd1a24ba"));
        assert_eq!(attempt.timestamp, "2026-02-10T00:00:00Z".parse().ok());
        let answer = answer(attempt);
        assert!(!answer.created && answer.warnings.is_empty());
        let expected = crate::allocation::tests::example();
        assert_eq!(answer.allocation.changes_since(&expected), []);
        assert_eq!(answer.allocation.metadata_updated_at, expected.metadata_updated_at);
    }

    #[test]
    fn ids_may_be_strings_or_integers() {
        let answer = answer(with_allocation(|a| {
            a["id"] = json!("3");
            a["client_id"] = json!(30000);
            a["account_id"] = json!(20000);
            a["proxmox_vm_id"] = json!(10048);
            a["metadata"]["updatedBy"] = json!(1);
        }));
        assert_eq!(answer.allocation.changes_since(&crate::allocation::tests::example()), []);
    }

    #[test]
    fn new_keys_new_status_words_and_any_metadata_are_tolerated() {
        for metadata in
            [json!(null), json!({}), json!({"updatedAt": null}), json!({"more": [1], "updatedAt": "soon"})]
        {
            let answer = answer(with_allocation(|a| {
                a["metadata"] = metadata;
                a["status"] = json!("migrating");
                a["colour"] = json!("blue");
            }));
            assert_eq!(answer.allocation.status.as_deref(), Some("migrating"));
        }
        let absent = with_allocation(|a| drop(a.as_object_mut().unwrap().remove("metadata")));
        assert_eq!(answer(absent).allocation.metadata_updated_at, None);
    }

    #[test]
    fn contradictions_are_warnings_and_created_and_prefix_win() {
        let wrong_length = answer(with_allocation(|a| a["prefix_length"] = json!(56)));
        assert_eq!(wrong_length.warnings, ["prefix_length is 56, but the prefix says 48"]);
        assert_eq!(wrong_length.allocation.prefix.length(), 48);
        for (created, status, warned) in [(true, 200, 1), (false, 201, 1), (true, 201, 0), (false, 200, 0)] {
            let mut body = documented();
            body["data"]["created"] = json!(created);
            let answer = answer(attempt(status, body.to_string().as_bytes()));
            assert_eq!((answer.created, answer.warnings.len()), (created, warned), "{created} {status}");
        }
    }

    /// Odd values of each field that decides nothing, what is read, and the warning without the field's name.
    const ODD: &[(&str, &str, &str, &str)] = &[
        ("id", "null", "none", "is null"),
        ("id", "3.0", "3", "is 3.0, not a text or an integer"),
        ("id", "3e0", "3", "is 3e0, not a text or an integer"),
        ("id", "3.5", "none", "is 3.5, not a text or an integer"),
        ("id", "99999999999999999999999", "99999999999999999999999", ""),
        ("id", "1e999", "none", "is 1e999, not a text or an integer"),
        ("id", "true", "none", "is true, not a text or an integer"),
        ("id", "[3]", "none", "is [3], not a text or an integer"),
        ("id", r#""""#, "none", r#"is "", not a text or an integer"#),
        ("rack_id", "{}", "none", "is {}, not a text or an integer"),
        ("rack_id", "27", "27", ""),
        ("rack_id", r#""  ""#, "none", r#"is "  ", not a text or an integer"#),
        ("rack_id", r#""\u0064c1""#, "dc1", ""),
        ("client_id", "null", "none", "is null"),
        ("client_id", "30000.0", "30000", "is 30000.0, not a text or an integer"),
        ("account_id", "false", "none", "is false, not a text or an integer"),
        ("proxmox_vm_id", "-1.50", "none", "is -1.50, not a text or an integer"),
        ("status", "null", "none", "is null"),
        ("status", "1", "none", "is 1, not a text"),
        ("status", r#""""#, "none", r#"is "", not a text"#),
        ("status", r#"["active"]"#, "none", r#"is ["active"], not a text"#),
        ("prefix_length", r#""48""#, "", r#"is "48", not an integer"#),
        ("prefix_length", r#"" 48.0 ""#, "", r#"is " 48.0 ", not an integer"#),
        ("prefix_length", "48.0", "", "is 48.0, not an integer"),
        ("prefix_length", "4.8e1", "", "is 4.8e1, not an integer"),
        ("prefix_length", "null", "", "is null"),
        ("prefix_length", "{}", "", "is {}, not an integer"),
        ("prefix_length", "99999999999999999999999", "", ""),
        ("allocated_at", "1770681600.658429", "1770681600.658429", "is 1770681600.658429, not a text"),
        ("allocated_at", "1770681600658", "1770681600658", "is 1770681600658, not a text"),
        ("allocated_at", "null", "none", "is null"),
        ("created_at", "[]", "none", "is [], not a text"),
        ("created_at", "false", "none", "is false, not a text"),
        ("updated_at", r#""""#, "none", r#"is "", not a time"#),
        ("updated_at", r#""yesterday""#, "yesterday", ""),
        ("released_at", "false", "none", "is false, not a text"),
        ("released_at", r#""""#, "none", r#"is "", not a time"#),
        ("released_at", "0", "none", "is 0, not a text"),
        ("released_at", "0.0", "none", "is 0.0, not a text"),
        ("released_at", "{}", "none", "is {}, not a text"),
        ("released_at", "true", "true", "is true, not a text"),
        ("released_at", "1770681600", "1770681600", "is 1770681600, not a text"),
        ("cooldown_until", r#"" ""#, "none", r#"is " ", not a time"#),
        ("cooldown_until", "false", "none", "is false, not a text"),
        ("metadata", "null", "none", ""),
        ("metadata", "{}", "none", ""),
        ("metadata", r#"{"updatedAt":null,"more":[1]}"#, "none", ""),
        ("metadata", r#"{"updatedAt":"soon"}"#, "soon", ""),
        ("metadata", r#"{"updatedAt":["soon"]}"#, "none", r#".updatedAt is ["soon"], not a text"#),
        ("metadata", r#""{}""#, "none", r#"is "{}", not an object"#),
        (
            "metadata",
            r#""{\"updatedAt\":\"soon\"}""#,
            "soon",
            r#"is "{\"updatedAt\":\"soon\"}", not an object"#,
        ),
        ("metadata", r#""""#, "none", r#"is "", not an object"#),
        ("metadata", "[]", "none", "is [], not an object"),
        ("metadata", "48.0", "none", "is 48.0, not an object"),
    ];

    /// What was read of a field of the allocation; nothing where it is not kept.
    fn kept(allocation: &Allocation, field: &str) -> String {
        let moment = |at: &Option<Moment>| at.as_ref().map(|at| at.as_str().to_owned());
        let text = match field {
            "id" => allocation.id.clone(),
            "rack_id" => allocation.rack_id.clone(),
            "client_id" => allocation.client_id.clone(),
            "account_id" => allocation.account_id.clone(),
            "proxmox_vm_id" => allocation.proxmox_vm_id.clone(),
            "status" => allocation.status.clone(),
            "allocated_at" => moment(&allocation.allocated_at),
            "created_at" => moment(&allocation.created_at),
            "updated_at" => moment(&allocation.updated_at),
            "released_at" => moment(&allocation.released_at),
            "cooldown_until" => moment(&allocation.cooldown_until),
            "metadata" => moment(&allocation.metadata_updated_at),
            _ => return String::new(),
        };
        text.unwrap_or_else(|| "none".into())
    }

    /// The documented success, with this text for a field of the allocation.
    fn with_raw(field: &str, value: &str) -> Attempt {
        let body = documented().to_string();
        let old = format!("\"{field}\":{}", documented()["data"]["allocation"][field]);
        assert!(body.contains(&old), "{field}");
        attempt(200, body.replace(&old, &format!("\"{field}\":{value}")).as_bytes())
    }

    #[test]
    fn a_field_that_decides_nothing_is_taken_where_it_can_be_read_and_warned_about_where_it_is_odd() {
        for &(field, value, read, warning) in ODD {
            let answer = answer(with_raw(field, value));
            assert_eq!(kept(&answer.allocation, field), read, "{field}: {value}");
            let odd: Vec<_> = answer.warnings.iter().filter(|warning| !warning.contains("says 48")).collect();
            let space = if warning.starts_with('.') { "" } else { " " };
            let expected = (!warning.is_empty()).then(|| format!("{field}{space}{warning}"));
            assert_eq!(odd, expected.iter().collect::<Vec<_>>(), "{field}: {value}");
        }
    }

    #[test]
    fn no_field_that_decides_nothing_fails_an_answer_whatever_it_is() {
        let fields = documented()["data"]["allocation"].as_object().unwrap().clone();
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let values = ["null", "true", "-0", "1e999", r#""\ud800""#, r#""\u0000""#, "[]", "{}", &deep];
        for field in fields.keys().filter(|field| !["prefix", "next_hop"].contains(&field.as_str())) {
            for value in values {
                let answer = answer(with_raw(field, value));
                assert_eq!(answer.allocation.prefix.as_str(), "2001:db8::1/48", "{field}: {value:.20}");
                assert!(answer.warnings.iter().all(|warning| warning.len() < 400), "{field}: {value:.20}");
            }
            let missing = answer(with_allocation(|a| drop(a.as_object_mut().unwrap().remove(field))));
            let silent = ["metadata", "released_at", "cooldown_until"].contains(&field.as_str());
            let expected = if silent { vec![] } else { vec![format!("{field} is missing")] };
            assert_eq!(missing.warnings, expected);
        }
        for field in ["timestamp", "requestId"] {
            for value in [json!(null), json!(true), json!([1]), json!({"a": 1}), json!(1.5), json!("")] {
                let mut body = documented();
                body[field] = value.clone();
                let answer = answer(attempt(200, body.to_string().as_bytes()));
                assert_eq!(answer.warnings.len(), usize::from(!value.is_null()), "{field}: {value}");
            }
        }
    }

    #[test]
    fn a_field_that_is_there_twice_counts_as_it_was_said_last_unless_it_decides() {
        let doubled = |field: &str, value: &str| {
            let body = documented().to_string();
            attempt(
                200,
                body.replace(r#""rack_id":"#, &format!(r#""{field}":{value},"rack_id":"#)).as_bytes(),
            )
        };
        let rack = answer(doubled("rack_id", "\"dc1r99\""));
        assert_eq!(rack.allocation.rack_id.as_deref(), Some("dc1r28"));
        assert_eq!(rack.warnings, ["rack_id is there twice"]);
        for (field, value) in [("prefix", "\"2001:db8::/48\""), ("next_hop", "\"2001:db8::1\"")] {
            assert!(fault(doubled(field, value)).message.contains(&format!("{field} is there twice")));
        }
        let body = documented().to_string();
        for (field, twice) in [("success", r#""success":true,"#), ("created", r#""created":false,"#)] {
            let body = body.replace(&format!("\"{field}\":"), &format!("{twice}\"{field}\":"));
            assert!(
                fault(attempt(200, body.as_bytes())).message.contains(&format!("{field} is there twice"))
            );
        }
    }

    #[test]
    fn what_decides_is_required_and_never_guessed() {
        let whole = documented();
        for (path, values) in [
            ("/success", vec![json!(null), json!("true"), json!(1), json!([true])]),
            ("/data", vec![json!(null), json!([]), json!("{}"), json!([whole["data"]])]),
            ("/data/created", vec![json!(null), json!("false"), json!(0), json!({})]),
            ("/data/allocation", vec![json!(null), json!([]), json!([whole["data"]["allocation"]])]),
            (
                "/data/allocation/prefix",
                vec![json!(null), json!(48), json!(""), json!("2001:db8::"), json!({})],
            ),
            ("/data/allocation/next_hop", vec![json!(null), json!(1), json!(""), json!("router"), json!([])]),
        ] {
            let name = path.rsplit('/').next().unwrap();
            for value in values {
                let mut body = whole.clone();
                *body.pointer_mut(path).unwrap() = value.clone();
                let fault = fault(attempt(200, body.to_string().as_bytes()));
                assert_eq!(fault.failure, Failure::MalformedAnswer, "{path}: {value}");
                assert!(fault.may_have_applied && fault.message.contains(name), "{path}: {}", fault.message);
            }
            let mut body = whole.clone();
            let parent = path.rsplit_once('/').unwrap().0;
            body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            let fault = fault(attempt(200, body.to_string().as_bytes()));
            let expected = format!("not the documented answer: {name} is missing");
            assert!(fault.message.starts_with(&expected), "{}", fault.message);
        }
    }

    #[test]
    fn an_answer_is_read_in_whichever_encoding_it_comes() {
        let body = documented().to_string().replace("dc1r28", "dc1å");
        let utf16 = |unit: fn(u16) -> [u8; 2]| body.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let latin1: Vec<u8> = body.chars().map(|c| u8::try_from(c).unwrap()).collect();
        for bytes in [
            body.as_bytes().to_vec(),
            ["\u{feff}", &body].concat().into_bytes(),
            latin1,
            utf16(u16::to_le_bytes),
            [&[0xfe, 0xff], &utf16(u16::to_be_bytes)[..]].concat(),
            body.replace("dc1", "\tdc1").into_bytes(),
        ] {
            let answer = answer(attempt(200, &bytes));
            assert_eq!(answer.allocation.rack_id.as_deref(), Some("dc1å"));
            assert!(answer.warnings.is_empty());
        }
    }

    #[test]
    fn a_2xx_that_is_no_answer_says_what_it_was_instead() {
        for (body, message) in [
            ("", "no JSON object: HTTP 200 OK (no content type)"),
            ("<title>Sign in</title>", "no JSON object: HTTP 200 OK: Sign in"),
            (r#"{"message":"queued"}"#, "success is missing: queued"),
            (
                r#"{"success":"false","message":"no prefix left"}"#,
                "success is \"false\", not true or false: no prefix left",
            ),
        ] {
            let fault = fault(attempt(200, body.as_bytes()));
            assert_eq!(fault.message, format!("not the documented answer: {message}"));
        }
    }

    #[test]
    fn a_2xx_that_says_success_false_is_refused() {
        let mut whole = documented();
        whole["success"] = json!(false);
        for body in [whole, json!({"success": false, "message": "no prefix left"})] {
            let fault = fault(attempt(200, body.to_string().as_bytes()));
            assert_eq!(fault.failure, Failure::RefusedByApi);
            assert!(!fault.may_have_applied);
        }
    }

    #[test]
    fn a_2xx_that_cannot_be_understood_is_malformed_and_unanswered() {
        let whole = documented().to_string();
        let bodies: Vec<Vec<u8>> = vec![
            vec![],
            b"<html>ok</html>".to_vec(),
            whole.as_bytes()[..whole.len() / 2].to_vec(),
            b"\xff\xfe\x00".to_vec(),
            b"[]".to_vec(),
            b"{}".to_vec(),
            br#"{"success":true}"#.to_vec(),
            br#"{"success":"true","data":{}}"#.to_vec(),
            format!("{whole} {whole}").into_bytes(),
            whole.replace("2001:db8::1/48", "10.0.0.0/8").into_bytes(),
            whole.replace(r#""next_hop":"2001:db8::1""#, r#""next_hop":"router""#).into_bytes(),
            [b"[".repeat(5000), b"]".repeat(5000)].concat(),
        ];
        for body in bodies {
            let fault = fault(attempt(200, &body));
            assert_eq!(fault.failure, Failure::MalformedAnswer, "{}", String::from_utf8_lossy(&body));
            assert!(fault.may_have_applied);
        }
        assert_eq!(fault(attempt(204, b"")).failure, Failure::MalformedAnswer);
    }

    #[test]
    fn errors_are_read_by_status_in_either_shape() {
        let body = br#"{"error":"Unauthorized","message":"bad key","code":"UNAUTHORIZED","requestId":"r1","timestamp":"2026-02-10T00:00:01Z"}"#;
        let attempt = attempt(401, body);
        assert_eq!(attempt.request_id.as_deref(), Some("r1"));
        assert_eq!(attempt.timestamp, "2026-02-10T00:00:01Z".parse().ok());
        assert_eq!(fault(attempt).failure, Failure::Unauthorized);
    }

    /// Bytes changed, cut out or put in: at which place, how many, and which instead.
    pub(crate) fn mangled(mut body: Vec<u8>, edits: Vec<(usize, usize, [u8; 2])>) -> Vec<u8> {
        for (at, cut, put) in edits {
            let at = at % (body.len() + 1);
            let end = (at + cut).min(body.len());
            body.splice(at..end, put);
        }
        body
    }

    /// An answer, where there can be one, or a fault in `most` characters at the most.
    pub(crate) fn in_few_words(
        attempt: Attempt,
        may_succeed: bool,
        most: usize,
    ) -> Result<(), TestCaseError> {
        let is_success = attempt.status.is_some_and(|status| (200..300).contains(&status));
        match attempt.result {
            Ok(answer) => {
                prop_assert!(is_success && may_succeed);
                let warnings = answer.answer().warnings;
                prop_assert!(warnings.iter().all(|warning| warning.chars().count() < 400));
            }
            Err(fault) => {
                prop_assert!(!fault.message.is_empty() && fault.message.chars().count() <= most);
            }
        }
        Ok(())
    }

    proptest! {
        /// Whatever the status.
        #[test]
        fn no_mangled_answer_is_more_than_a_malformed_one(
            edits in proptest::collection::vec((0..900_usize, 0..4_usize, any::<[u8; 2]>()), 0..6),
            error in any::<bool>(),
            status in 100..1000_u16,
        ) {
            let body = match error {
                true => br#"{"error":"Bad Request","message":["no \u00e5",{"a":"b"}],"code":"X","errors":[{"detail":"d"}]}"#.to_vec(),
                false => documented().to_string().into_bytes(),
            };
            in_few_words(attempt(status, &mangled(body, edits)), !error, 300)?;
        }
    }
}
