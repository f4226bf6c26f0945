//! The v2 dialect: `POST /api/v2/vps/{id}/routed-ipv6`, and `GET` to look, their answers and their traps.
//!
//! Nearly everything in an answer may be null. What it does not say is unknown, and unknown is nothing to warn about.

pub(super) mod list;

use super::attempt::{Attempt, Fault, Success};
use super::body::spaced;
use super::clip::clip;
use super::fault::{self, Head};
use super::fields::{
    Absence, Tolerated, address, contradiction, decisive, optional, read_address, read_boolean,
};
use super::meaning::Sense;
use super::object::{Object, Raw};
use crate::allocation::Allocation;
use crate::outcome::{Answer, Look};

/// The header that carries the key.
pub(super) const KEY: &str = "authorization";

/// The path of all VMs.
pub(super) const VMS: &str = "/api/v2/vps";

/// What [`KEY`] says.
pub(super) fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// Reads a 2xx into `attempt`. `created`, `allocation`, `prefix` and `nextHop` decide; the rest is tolerated.
pub(super) fn read(head: &Head, text: &str, attempt: &mut Attempt) {
    read_state(head, text, attempt, |state, wire| match wire.is_null() {
        true => Err(Fault::of(Sense::REFUSED, format!("no allocation: {}", reason(state)))),
        false => answer(head.status, state, wire).map(Success::Called).map_err(|reason| malformed(&reason)),
    });
}

/// The same of a look.
pub(super) fn read_look(head: &Head, text: &str, attempt: &mut Attempt) {
    read_state(head, text, attempt, |state, wire| {
        looked(state, wire).map(Success::Looked).map_err(|reason| malformed(&reason))
    });
}

fn read_state(
    head: &Head,
    text: &str,
    attempt: &mut Attempt,
    result: impl FnOnce(&Object<'_>, Raw<'_>) -> Result<Success, Fault>,
) {
    let json = spaced(text);
    let state = Object::read(&json).ok_or_else(|| "no JSON object".to_owned());
    match state.and_then(|state| Ok((decisive(&state, "allocation")?, state))) {
        Ok((wire, state)) => attempt.result = result(&state, wire),
        Err(reason) => fault::misread(head, text, &reason, attempt),
    }
}

fn malformed(reason: &str) -> Fault {
    Fault::malformed(fault::undocumented(reason))
}

/// Why a VM can have no allocation, in the API's own words.
fn reason(state: &Object<'_>) -> String {
    let reason = Tolerated::of(state).word("reason", Absence::Fine);
    reason.unwrap_or_else(|| "no reason is given".into())
}

/// The answer with this allocation, or what is wrong with it.
fn answer(status: u16, state: &Object<'_>, wire: Raw<'_>) -> Result<Answer, String> {
    let mut warnings = Vec::new();
    let created = created(status, state, &mut warnings)?;
    let allocation = allocation(state, wire, &mut warnings)?;
    Ok(Answer { created, allocation, warnings })
}

fn looked(state: &Object<'_>, wire: Raw<'_>) -> Result<Look, String> {
    let mut rest = Tolerated::of(state);
    let (reason, suggested) =
        (rest.word("reason", Absence::Fine), rest.word("suggestedNextHop", Absence::Fine));
    let mut warnings = rest.warnings;
    let is_there = !wire.is_null();
    Ok(Look {
        available: state.get_all("available").0.and_then(Raw::boolean),
        reason,
        suggested: suggested.and_then(|text| text.trim().parse().ok()),
        allocation: is_there.then(|| allocation(state, wire, &mut warnings)).transpose()?,
        warnings,
    })
}

fn allocation(state: &Object<'_>, wire: Raw<'_>, warnings: &mut Vec<String>) -> Result<Allocation, String> {
    let wire =
        wire.object().ok_or_else(|| format!("allocation is {}, not an object", clip(wire.as_str())))?;
    let mut rest = Tolerated::of(&wire);
    let allocation = Allocation {
        prefix: address(&wire, "prefix")?,
        next_hop: optional(&wire, "nextHop")?.map(|value| read_address("nextHop", value)).transpose()?,
        id: rest.id("id", Absence::Fine),
        rack_id: None,
        client_id: None,
        account_id: None,
        proxmox_vm_id: None,
        status: rest.word("status", Absence::Fine),
        allocated_at: rest.moment("allocatedAt", Absence::Fine),
        released_at: rest.moment("releasedAt", Absence::Fine),
        cooldown_until: rest.moment("cooldownUntil", Absence::Fine),
        created_at: rest.moment("createdAt", Absence::Fine),
        updated_at: rest.moment("updatedAt", Absence::Fine),
        metadata_updated_at: None,
    };
    rest.check_length("prefixLength", Absence::Fine, &allocation.prefix);
    rest.warnings.extend(unavailable(state));
    warnings.append(&mut rest.warnings);
    Ok(allocation)
}

/// Whether the call made the allocation: as the status says where nothing else does.
fn created(status: u16, state: &Object<'_>, warnings: &mut Vec<String>) -> Result<bool, String> {
    let Some(value) = optional(state, "created")? else {
        warnings.push(format!("created is unknown, and taken from the status, {status}"));
        return Ok(status == 201);
    };
    let created = read_boolean("created", value)?;
    warnings.extend(contradiction(created, status));
    Ok(created)
}

/// The warning where the API says that the allocation which is there cannot be had.
fn unavailable(state: &Object<'_>) -> Option<String> {
    let (available, _) = state.get_all("available");
    let is_unavailable = available.and_then(Raw::boolean) == Some(false);
    is_unavailable.then(|| format!("available is false: {}", reason(state)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::allocation::Moment;
    use crate::api::dialect::{self, Purpose};
    use crate::api::v1::tests::{in_few_words, mangled};
    use crate::api::{Credential, Meaning};
    use crate::dialect::Dialect;
    use crate::outcome::Failure;
    use crate::vm::Action;

    fn documented() -> Value {
        json!({
            "available": true, "reason": null, "parentCidr": "2001:db8::/32", "prefixLength": 48, "cooldownDays": 7,
            "maxPerVm": 1, "suggestedNextHop": "2001:db8::1", "created": false,
            "allocation": {
                "id": "ripv6_01hxa3b4c5d6e7f8g9h0j1k2m3", "prefix": "2001:db8::1/48", "prefixLength": 48,
                "nextHop": "2001:db8::1/128", "status": "active", "allocatedAt": "2026-02-10T00:00:00.658Z",
                "releasedAt": null, "cooldownUntil": null, "createdAt": "2026-02-10T00:00:00.658Z",
                "updatedAt": "2026-02-11T00:00:00.658Z"
            }
        })
    }

    /// A call that left at the beginning of time, and was answered so at once.
    fn attempt(status: u16, body: &[u8]) -> Attempt {
        let mut attempt = Attempt { status: Some(status), ..Attempt::unanswered(Timestamp::UNIX_EPOCH) };
        let text = crate::api::body::decode(body);
        dialect::read(Dialect::V2, Purpose::Call, &Head { status, ..Head::default() }, &text, &mut attempt);
        attempt
    }

    /// The documented success, with `edit` applied to it.
    fn with(status: u16, edit: impl FnOnce(&mut Value)) -> Attempt {
        let mut body = documented();
        edit(&mut body);
        attempt(status, body.to_string().as_bytes())
    }

    fn answer(attempt: Attempt) -> Answer {
        attempt.result.unwrap().answer()
    }

    fn fault(attempt: Attempt) -> Fault {
        attempt.result.unwrap_err()
    }

    fn moment(text: &str) -> Moment {
        Moment::from(text.to_owned())
    }

    /// What a look comes to that is answered with the documented state, with `edit` applied to it.
    fn look(edit: impl FnOnce(&mut Value)) -> Attempt {
        let mut body = documented();
        body["created"] = Value::Null;
        edit(&mut body);
        let mut attempt = Attempt::unanswered(Timestamp::UNIX_EPOCH);
        let head = Head { status: 200, ..Head::default() };
        dialect::read(Dialect::V2, Purpose::Look, &head, &body.to_string(), &mut attempt);
        attempt
    }

    type Edit = Box<dyn Fn(&mut Value)>;

    #[test]
    fn a_look_says_whether_what_was_asked_for_is_done() {
        let both = [Action::Allocate, Action::RefreshNextHop];
        let hop = |hop: Value| move |body: &mut Value| body["allocation"]["nextHop"] = hop;
        let suggested = |hop: Value| move |body: &mut Value| body["suggestedNextHop"] = hop;
        let allocation = |field: &'static str, value: &'static str| {
            move |body: &mut Value| body["allocation"][field] = value.into()
        };
        let cases: Vec<(Edit, [bool; 2], &str)> = vec![
            (Box::new(|_| {}), [true, true], "both are done"),
            (Box::new(|body| body["allocation"] = Value::Null), [false, false], "nothing is there"),
            (Box::new(move |body| hop(json!("2001:db8::9"))(body)), [true, false], "an old next hop"),
            (Box::new(move |body| hop(Value::Null)(body)), [true, false], "an unknown next hop"),
            (Box::new(move |body| suggested(Value::Null)(body)), [true, false], "nothing is suggested"),
            (
                Box::new(move |body| suggested(json!("soon"))(body)),
                [true, false],
                "what is suggested is no address",
            ),
            (
                Box::new(move |body| suggested(json!("2001:DB8::1"))(body)),
                [true, true],
                "the same in another form",
            ),
            (Box::new(allocation("status", "cooldown")), [false, false], "it cools down"),
            (Box::new(allocation("releasedAt", "2026-02-12T00:00:00Z")), [false, false], "it was released"),
            (
                Box::new(|body| body["allocation"]["status"] = Value::Null),
                [true, true],
                "its status is unknown",
            ),
        ];
        for (edit, expected, why) in cases {
            let done = both.map(|action| look(&edit).result.unwrap().look().done(action));
            assert_eq!(done.each_ref().map(Option::is_some), expected, "{why}");
            for answer in done.into_iter().flatten() {
                assert!(!answer.created && answer.warnings.is_empty(), "{why}: {:?}", answer.warnings);
            }
        }
    }

    #[test]
    fn a_look_that_cannot_be_understood_is_malformed() {
        for (path, value) in [
            ("/allocation", json!([])),
            ("/allocation/prefix", json!(null)),
            ("/allocation/nextHop", json!("router")),
        ] {
            let fault = fault(look(|body| *body.pointer_mut(path).unwrap() = value));
            assert_eq!(
                (fault.failure, fault.meaning),
                (Failure::MalformedAnswer, Meaning::Transient),
                "{path}"
            );
        }
        let gone = look(|body| drop(body.as_object_mut().unwrap().remove("allocation")));
        assert!(fault(gone).message.contains("allocation is missing"));
    }

    fn is_silent_on_what_v2_never_says(allocation: &Allocation) -> bool {
        let Allocation { rack_id, client_id, account_id, proxmox_vm_id, metadata_updated_at, .. } =
            allocation;
        [rack_id, client_id, account_id, proxmox_vm_id].iter().all(|id| id.is_none())
            && metadata_updated_at.is_none()
    }

    #[test]
    fn the_documented_answer_is_read_whole() {
        let attempt = with(200, |_| {});
        assert_eq!((attempt.timestamp, attempt.request_id.as_deref()), (None, None));
        let Answer { created, allocation, warnings } = answer(attempt);
        assert!(!created && warnings.is_empty(), "{warnings:?}");
        assert_eq!(allocation.id.as_deref(), Some("ripv6_01hxa3b4c5d6e7f8g9h0j1k2m3"));
        assert_eq!(allocation.prefix.as_str(), "2001:db8::1/48");
        assert_eq!(allocation.next_hop, "2001:db8::1".parse().ok());
        assert_eq!(allocation.status.as_deref(), Some("active"));
        assert_eq!(allocation.allocated_at, Some(moment("2026-02-10T00:00:00.658Z")));
        assert_eq!(allocation.created_at, Some(moment("2026-02-10T00:00:00.658Z")));
        assert_eq!(allocation.updated_at, Some(moment("2026-02-11T00:00:00.658Z")));
        assert_eq!((&allocation.released_at, &allocation.cooldown_until), (&None, &None));
        assert!(is_silent_on_what_v2_never_says(&allocation));
    }

    /// What was read of a field of the allocation; nothing where it is not kept.
    fn kept(allocation: &Allocation, field: &str) -> Option<String> {
        let moment = |at: &Option<Moment>| at.as_ref().map(ToString::to_string);
        match field {
            "id" => allocation.id.clone(),
            "nextHop" => allocation.next_hop.as_ref().map(ToString::to_string),
            "status" => allocation.status.clone(),
            "allocatedAt" => moment(&allocation.allocated_at),
            "releasedAt" => moment(&allocation.released_at),
            "cooldownUntil" => moment(&allocation.cooldown_until),
            "createdAt" => moment(&allocation.created_at),
            "updatedAt" => moment(&allocation.updated_at),
            _ => None,
        }
    }

    #[test]
    fn whatever_is_null_or_missing_is_unknown_without_a_word_but_for_what_decides() {
        let whole = documented();
        let fields = || whole["allocation"].as_object().unwrap().keys().filter(|field| *field != "prefix");
        let null = |field: &str| with(200, |body| body["allocation"][field] = Value::Null);
        let gone =
            |field: &str| with(200, |body| drop(body["allocation"].as_object_mut().unwrap().remove(field)));
        for field in fields() {
            for attempt in [null(field), gone(field)] {
                let answer = answer(attempt);
                assert_eq!((kept(&answer.allocation, field), answer.warnings), (None, vec![]), "{field}");
                for other in fields().filter(|other| *other != field && *other != "prefixLength") {
                    let said = whole["allocation"][other].as_str().map(str::to_owned);
                    assert_eq!(kept(&answer.allocation, other), said, "{other} without {field}");
                }
            }
        }
        let bare = answer(attempt(200, br#"{"created":false,"allocation":{"prefix":"2001:db8::/48"}}"#));
        assert!(fields().all(|field| kept(&bare.allocation, field).is_none()) && bare.warnings.is_empty());
        for field in whole.as_object().unwrap().keys() {
            let decides = ["created", "allocation"].contains(&field.as_str());
            for attempt in [
                with(200, |body| body[field] = Value::Null),
                with(200, |body| drop(body.as_object_mut().unwrap().remove(field))),
            ] {
                let is_silent = attempt.result.is_ok_and(|answer| answer.answer().warnings.is_empty());
                assert_eq!(is_silent, !decides, "{field}");
            }
        }
    }

    #[test]
    fn what_is_unknown_is_no_change() {
        let whole = answer(with(200, |_| {})).allocation;
        let bare = answer(attempt(200, br#"{"created":false,"allocation":{"prefix":"2001:db8::/48"}}"#));
        assert_eq!(bare.allocation.changes_since(&whole), []);
        assert_eq!(whole.changes_since(&bare.allocation), []);
        let v1s = crate::allocation::tests::example();
        assert_eq!(bare.allocation.changes_since(&v1s), []);
    }

    #[test]
    fn created_is_as_it_says_else_as_the_status_says() {
        for (created, status, expected, warning) in [
            (json!(true), 201, true, None),
            (json!(false), 200, false, None),
            (json!(true), 200, true, Some("created is true, but the status is 200")),
            (json!(false), 201, false, Some("created is false, but the status is 201")),
            (json!(null), 201, true, Some("created is unknown, and taken from the status, 201")),
            (json!(null), 200, false, Some("created is unknown, and taken from the status, 200")),
            (json!(null), 202, false, Some("created is unknown, and taken from the status, 202")),
        ] {
            let answer = answer(with(status, |body| body["created"] = created.clone()));
            let warning: Vec<_> = warning.into_iter().collect();
            assert_eq!(
                (answer.created, answer.warnings),
                (expected, warning.iter().map(ToString::to_string).collect())
            );
        }
    }

    #[test]
    fn no_allocation_is_a_refusal_with_the_apis_reason_whatever_the_status_of_success() {
        for (reason, message) in [
            (
                json!("Assign IPv6 to the net0 interface first…"),
                "no allocation: Assign IPv6 to the net0 interface first…",
            ),
            (json!(null), "no allocation: no reason is given"),
            (json!(""), "no allocation: no reason is given"),
            (json!(7), "no allocation: no reason is given"),
        ] {
            for (status, available) in [(200, json!(false)), (201, json!(true)), (299, json!(null))] {
                let fault = fault(with(status, |body| {
                    body["allocation"] = Value::Null;
                    body["available"] = available.clone();
                    body["created"] = Value::Null;
                    body["reason"] = reason.clone();
                }));
                assert_eq!((fault.failure, fault.meaning), (Failure::RefusedByApi, Meaning::Final));
                assert_eq!((fault.message.as_str(), fault.may_have_applied), (message, false));
            }
        }
        let long = fault(with(200, |body| {
            body["allocation"] = Value::Null;
            body["reason"] = "x".repeat(60_000).into();
        }));
        assert!(long.message.chars().count() <= 320, "{}", long.message.len());
    }

    #[test]
    fn an_allocation_that_is_there_counts_whatever_is_said_of_others() {
        let answer = answer(with(200, |body| {
            body["available"] = json!(false);
            body["reason"] = json!("cooling down");
        }));
        assert_eq!(answer.warnings, ["available is false: cooling down"]);
        let odd = [json!(null), json!("no"), json!(0), json!({})];
        for available in odd {
            assert!(self::answer(with(200, |body| body["available"] = available)).warnings.is_empty());
        }
    }

    #[test]
    fn what_decides_is_never_guessed() {
        let malformed = |path: &str, value: &Value| {
            let mut body = documented();
            *body.pointer_mut(path).unwrap() = value.clone();
            let fault = fault(attempt(200, body.to_string().as_bytes()));
            assert_eq!(fault.failure, Failure::MalformedAnswer, "{path}: {value}");
            let name = path.rsplit('/').next().unwrap();
            assert!(fault.may_have_applied && fault.message.contains(name), "{path}: {}", fault.message);
        };
        for (path, values) in [
            ("/created", vec![json!("false"), json!(0), json!({})]),
            (
                "/allocation",
                vec![json!([]), json!("ripv6_1"), json!(false), json!([documented()["allocation"]])],
            ),
            (
                "/allocation/prefix",
                vec![json!(null), json!(48), json!(""), json!("2001:db8::"), json!("10.0.0.0/8")],
            ),
            ("/allocation/nextHop", vec![json!(1), json!(""), json!("router"), json!([]), json!("10.0.0.1")]),
        ] {
            for value in &values {
                malformed(path, value);
            }
        }
        let without = |at: &str, field: &str| {
            let mut body = documented();
            body.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(field);
            fault(attempt(200, body.to_string().as_bytes())).message
        };
        assert_eq!(without("/allocation", "prefix"), "not the documented answer: prefix is missing");
        assert!(without("", "allocation").starts_with("not the documented answer: allocation is missing"));
    }

    #[test]
    fn a_field_that_is_there_twice_counts_as_it_was_said_last_unless_it_decides() {
        let doubled = |field: &str| {
            let body = documented().to_string();
            attempt(
                200,
                body.replace(&format!("\"{field}\":"), &format!("\"{field}\":null,\"{field}\":")).as_bytes(),
            )
        };
        for field in ["id", "status", "allocatedAt", "updatedAt"] {
            let answer = answer(doubled(field));
            assert_eq!(
                kept(&answer.allocation, field).as_deref(),
                documented()["allocation"][field].as_str()
            );
            assert_eq!(answer.warnings, [format!("{field} is there twice")]);
        }
        for field in ["created", "allocation", "prefix", "nextHop"] {
            let message = fault(doubled(field)).message;
            assert!(message.contains(&format!("{field} is there twice")), "{message}");
        }
    }

    #[test]
    fn no_field_that_decides_nothing_fails_an_answer_whatever_it_is() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let values =
            ["true", "-0", "1e999", r#""\ud800""#, r#""\u0000""#, r#""\u001b[2J""#, "[]", "{}", &deep];
        let whole = documented();
        let of = |object: &Value| object.as_object().unwrap().clone();
        let fields = of(&whole).into_iter().chain(of(&whole["allocation"]));
        for (field, old) in fields
            .filter(|(field, _)| !["created", "allocation", "prefix", "nextHop"].contains(&field.as_str()))
        {
            for value in values {
                let old = format!("\"{field}\":{old}");
                let body = whole.to_string();
                assert!(body.contains(&old), "{field}");
                let answer =
                    answer(attempt(200, body.replace(&old, &format!("\"{field}\":{value}")).as_bytes()));
                assert_eq!(answer.allocation.prefix.as_str(), "2001:db8::1/48", "{field}: {value:.20}");
                assert!(answer.warnings.iter().all(|warning| warning.len() < 400), "{field}: {value:.20}");
            }
        }
    }

    #[test]
    fn ids_may_be_integers_and_new_keys_and_words_are_tolerated() {
        let answer = answer(with(200, |body| {
            body["allocation"]["id"] = json!(7);
            body["allocation"]["status"] = json!("migrating");
            body["allocation"]["rackId"] = json!("dc1r28");
            body["colour"] = json!("blue");
        }));
        assert_eq!(answer.allocation.id.as_deref(), Some("7"));
        assert_eq!(answer.allocation.status.as_deref(), Some("migrating"));
        assert!(answer.warnings.is_empty() && is_silent_on_what_v2_never_says(&answer.allocation));
    }

    #[test]
    fn the_length_of_the_prefix_is_its_own_and_not_the_pools() {
        let pool = answer(with(200, |body| body["prefixLength"] = json!(56)));
        assert!(pool.warnings.is_empty());
        let wrong = answer(with(200, |body| body["allocation"]["prefixLength"] = json!(56)));
        assert_eq!(wrong.warnings, ["prefixLength is 56, but the prefix says 48"]);
        assert_eq!(wrong.allocation.prefix.length(), 48);
    }

    #[test]
    fn a_2xx_that_cannot_be_understood_is_malformed_unanswered_and_says_what_it_was_instead() {
        let whole = documented().to_string();
        let bodies: Vec<Vec<u8>> = vec![
            vec![],
            b"<html>ok</html>".to_vec(),
            whole.as_bytes()[..whole.len() / 2].to_vec(),
            b"\xff\xfe\x00".to_vec(),
            b"[]".to_vec(),
            b"{}".to_vec(),
            format!("[{whole}]").into_bytes(),
            format!("{whole} {whole}").into_bytes(),
            format!(r#"{{"data":{whole}}}"#).into_bytes(),
            [b"[".repeat(5000), b"]".repeat(5000)].concat(),
        ];
        for body in bodies {
            let fault = fault(attempt(200, &body));
            assert_eq!(fault.failure, Failure::MalformedAnswer, "{}", String::from_utf8_lossy(&body));
            assert!(fault.may_have_applied && fault.meaning == Meaning::Transient);
        }
        assert_eq!(fault(attempt(204, b"")).failure, Failure::MalformedAnswer);
        for (body, message) in [
            ("", "no JSON object: HTTP 200 OK (no content type)"),
            ("<title>Sign in</title>", "no JSON object: HTTP 200 OK: Sign in"),
            (r#"{"message":"queued"}"#, "allocation is missing: queued"),
        ] {
            let fault = fault(attempt(200, body.as_bytes()));
            assert_eq!(fault.message, format!("not the documented answer: {message}"));
        }
    }

    #[test]
    fn an_answer_of_v1_is_none_of_v2() {
        let v1s =
            json!({"success": true, "data": {"created": true, "allocation": {"prefix": "2001:db8::/48"}}});
        assert_eq!(fault(attempt(201, v1s.to_string().as_bytes())).failure, Failure::MalformedAnswer);
    }

    #[test]
    fn an_answer_is_read_in_whichever_encoding_it_comes() {
        let body = documented().to_string().replace("active", "åctive");
        let utf16 = |unit: fn(u16) -> [u8; 2]| body.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for bytes in
            [body.as_bytes().to_vec(), ["\u{feff}", &body].concat().into_bytes(), utf16(u16::to_le_bytes)]
        {
            let answer = answer(attempt(200, &bytes));
            assert_eq!(answer.allocation.status.as_deref(), Some("åctive"));
            assert!(answer.warnings.is_empty());
        }
    }

    #[test]
    fn problem_documents_mean_what_their_status_and_code_say() {
        for (status, code, failure, meaning, may_have_applied) in [
            (400, "invalid_request", Failure::Rejected, Meaning::Final, false),
            (401, "unauthorized", Failure::Unauthorized, Meaning::Refused(Credential::Key), false),
            (403, "forbidden", Failure::Forbidden, Meaning::Final, false),
            (403, "account_inactive", Failure::Forbidden, Meaning::Final, false),
            (404, "not_found", Failure::NotFound, Meaning::NotFound, false),
            (404, "vps_not_found", Failure::NotFound, Meaning::NotFound, false),
            (409, "vps_not_ready", Failure::Conflict, Meaning::NotReady, false),
            (409, "upstream_failed", Failure::Conflict, Meaning::NotReady, true),
            (422, "invalid_request", Failure::Rejected, Meaning::Final, false),
            (429, "rate_limited", Failure::RateLimited, Meaning::Throttled, false),
            (429, "rate_limit_exceeded", Failure::RateLimited, Meaning::Throttled, false),
            (500, "internal_error", Failure::ServerError, Meaning::Transient, true),
            (502, "upstream_failed", Failure::ServerError, Meaning::Transient, true),
            (503, "upstream_failed", Failure::ServerError, Meaning::Transient, true),
            (503, "upstream_unavailable", Failure::ServerError, Meaning::Transient, true),
        ] {
            let problem = json!({
                "type": format!("https://developer.hostup.se/problems/{code}"), "title": "A problem",
                "status": status, "detail": "in its own words", "code": code, "instance": "/api/v2/vps/x",
                "requestId": "r1", "timestamp": "2026-02-10T00:00:01Z"
            });
            let attempt = attempt(status, problem.to_string().as_bytes());
            assert_eq!(attempt.request_id.as_deref(), Some("r1"));
            assert_eq!(attempt.timestamp, "2026-02-10T00:00:01Z".parse().ok());
            let fault = fault(attempt);
            assert_eq!((fault.failure, fault.meaning), (failure, meaning), "{status} {code}");
            assert_eq!(
                (fault.may_have_applied, fault.message.as_str()),
                (may_have_applied, "in its own words")
            );
        }
    }

    #[test]
    fn every_status_that_is_no_2xx_means_what_it_means_in_v1() {
        for status in (100..1000).filter(|status| !(200..300).contains(status)) {
            for body in
                ["", "<html>", "{}", r#"{"code":"vps_not_ready","detail":"later"}"#, "{\"allocation\":null}"]
            {
                let v1s = crate::api::answered(status, body.as_bytes());
                assert_eq!(
                    fault(attempt(status, body.as_bytes())),
                    v1s.result.unwrap_err(),
                    "{status} {body}"
                );
            }
        }
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
                true => br#"{"title":"Bad Request","detail":["no \u00e5",{"a":"b"}],"code":"x","errors":[{"detail":"d"}]}"#.to_vec(),
                false => documented().to_string().into_bytes(),
            };
            in_few_words(attempt(status, &mangled(body, edits)), !error, 320)?;
        }

        /// Nulls wherever they may be: an answer with a prefix is one, and what is told is what was said.
        #[test]
        fn any_fields_may_be_null_together(nulls in any::<u16>(), status in 200..300_u16) {
            let mut body = documented();
            let fields = ["id", "prefixLength", "nextHop", "status", "allocatedAt", "releasedAt", "cooldownUntil", "createdAt", "updatedAt"];
            let is_null = |place: usize| nulls & (1 << place) != 0;
            for (_, field) in fields.iter().enumerate().filter(|(place, _)| is_null(*place)) {
                body["allocation"][field] = Value::Null;
            }
            for (place, field) in (9..).zip(["available", "parentCidr", "prefixLength", "suggestedNextHop", "created"]) {
                if is_null(place) {
                    body[field] = Value::Null;
                }
            }
            let answer = answer(attempt(status, body.to_string().as_bytes()));
            for (place, field) in fields.iter().enumerate().filter(|(_, field)| **field != "prefixLength") {
                let said = documented()["allocation"][field].as_str().map(str::to_owned);
                prop_assert_eq!(kept(&answer.allocation, field), said.filter(|_| !is_null(place)));
            }
            prop_assert_eq!(answer.created, is_null(13) && status == 201);
        }
    }
}
