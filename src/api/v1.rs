//! The v1 dialect: `POST /api/vm/{vmid}/routed-ipv6`, its answers and their traps.

use std::borrow::Cow;
use std::fmt;

use reqwest::Url;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::attempt::{Attempt, Fault};
use super::fault::{self, ErrorBody, Head, clip};
use crate::allocation::{Allocation, Moment};
use crate::inventory::{Action, VmId};
use crate::outcome::{Answer, Failure};

pub(super) fn url(base: &Url, vm: &VmId) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/api/vm/{vm}/routed-ipv6", base.path().trim_end_matches('/')));
    url
}

/// `action` is required, and no other field is allowed.
pub(super) fn body(action: Action) -> &'static str {
    match action {
        Action::Allocate => r#"{"action":"allocate"}"#,
        Action::RefreshNextHop => r#"{"action":"refresh_next_hop"}"#,
    }
}

/// Reads an answer into `attempt`.
pub(super) fn read(head: &Head, body: &[u8], attempt: &mut Attempt) {
    if head.is_success() {
        match serde_json::from_slice::<Envelope>(body) {
            Ok(envelope) if envelope.success => accept(head, envelope, attempt),
            Ok(_) => refuse(head, body, Failure::RefusedByApi, attempt),
            Err(error) => reject(head, body, &error, attempt),
        }
    } else {
        refuse(head, body, fault::of_status(head.status), attempt);
    }
}

fn accept(head: &Head, envelope: Envelope<'_>, attempt: &mut Attempt) {
    attempt.timestamp = envelope.timestamp.and_then(|at| at.0.parse().ok());
    attempt.request_id = envelope.request_id.map(|id| clip(&id.0)).or(attempt.request_id.take());
    attempt.result = envelope.data.normalise(head.status).map_err(|message| {
        let status = Some(head.status);
        Fault { status, json: true, ..fault::malformed(message) }
    });
}

fn refuse(head: &Head, body: &[u8], failure: Failure, attempt: &mut Attempt) {
    let body = ErrorBody::read(body);
    if let Some(body) = &body {
        let text = |value: &Option<serde_json::Value>| value.as_ref()?.as_str().map(str::to_owned);
        attempt.timestamp = text(&body.timestamp).and_then(|at| at.parse().ok());
        attempt.request_id = text(&body.request_id).map(|id| clip(&id)).or(attempt.request_id.take());
    }
    attempt.result = Err(fault::of_answer(head, body.as_ref(), failure));
}

/// A 2xx that is not the documented success: refused in words, or not understood.
fn reject(head: &Head, body: &[u8], error: &serde_json::Error, attempt: &mut Attempt) {
    let refused = ErrorBody::read(body).is_some_and(|body| body.success == Some(false.into()));
    match refused {
        true => refuse(head, body, Failure::RefusedByApi, attempt),
        false => {
            let message = clip(&format!("not the documented answer: {error}"));
            attempt.result = Err(Fault { status: Some(head.status), ..fault::malformed(message) });
        }
    }
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    success: bool,
    #[serde(default, borrow)]
    timestamp: Option<Text<'a>>,
    #[serde(default, rename = "requestId")]
    request_id: Option<Text<'a>>,
    data: Data<'a>,
}

#[derive(serde::Deserialize)]
struct Data<'a> {
    created: bool,
    #[serde(borrow)]
    allocation: Wire<'a>,
}

/// An allocation as v1 sends it. Keys that are not listed are tolerated.
#[derive(serde::Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    rack_id: Text<'a>,
    client_id: Text<'a>,
    account_id: Text<'a>,
    proxmox_vm_id: Text<'a>,
    #[serde(borrow)]
    prefix: Cow<'a, str>,
    #[serde(default)]
    prefix_length: Option<i64>,
    #[serde(borrow)]
    next_hop: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(default)]
    allocated_at: Option<Text<'a>>,
    #[serde(default)]
    released_at: Option<Text<'a>>,
    #[serde(default)]
    cooldown_until: Option<Text<'a>>,
    #[serde(default)]
    created_at: Option<Text<'a>>,
    #[serde(default)]
    updated_at: Option<Text<'a>>,
    #[serde(default)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Default, serde::Deserialize)]
struct Metadata<'a> {
    #[serde(default, borrow, rename = "updatedAt")]
    updated_at: Option<Text<'a>>,
}

impl Data<'_> {
    fn normalise(self, status: u16) -> Result<Answer, String> {
        let wire = self.allocation;
        let allocation = Allocation {
            prefix: wire.prefix.parse().map_err(|e| format!("prefix {:?} is {e}", clip(&wire.prefix)))?,
            next_hop: wire
                .next_hop
                .parse()
                .map_err(|e| format!("next_hop {:?} is {e}", clip(&wire.next_hop)))?,
            id: clip(&wire.id.0),
            rack_id: clip(&wire.rack_id.0),
            client_id: clip(&wire.client_id.0),
            account_id: clip(&wire.account_id.0),
            proxmox_vm_id: clip(&wire.proxmox_vm_id.0),
            status: clip(&wire.status),
            allocated_at: moment(wire.allocated_at),
            released_at: moment(wire.released_at),
            cooldown_until: moment(wire.cooldown_until),
            created_at: moment(wire.created_at),
            updated_at: moment(wire.updated_at),
            metadata_updated_at: moment(wire.metadata.unwrap_or_default().updated_at),
        };
        let mut warnings = Vec::new();
        let length = allocation.prefix.length();
        if let Some(stated) = wire.prefix_length.filter(|&stated| stated != i64::from(length)) {
            warnings.push(format!("prefix_length is {stated}, but the prefix says {length}"));
        }
        if self.created != (status == 201) {
            warnings.push(format!("created is {}, but the status is {status}", self.created));
        }
        Ok(Answer { created: self.created, allocation, warnings })
    }
}

fn moment(text: Option<Text<'_>>) -> Option<Moment> {
    text.map(|text| Moment::from(clip(&text.0)))
}

/// A scalar that comes as a string in one place and as an integer in another.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl<'de> Visitor<'de> for Scalar {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(number.to_string().into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(number.to_string().into()))
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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

    fn attempt(status: u16, body: &[u8]) -> Attempt {
        let mut attempt = Attempt::unanswered(jiff::Timestamp::UNIX_EPOCH);
        read(&Head { status, ..Head::default() }, body, &mut attempt);
        attempt
    }

    /// The documented success, with `edit` applied to its allocation.
    fn with_allocation(edit: impl FnOnce(&mut Value)) -> Attempt {
        let mut body = documented();
        edit(&mut body["data"]["allocation"]);
        attempt(200, body.to_string().as_bytes())
    }

    fn answer(attempt: Attempt) -> Answer {
        attempt.result.unwrap()
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
            assert_eq!(answer.allocation.status, "migrating");
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

    #[test]
    fn times_that_cannot_be_read_are_kept_as_text() {
        let answer = answer(with_allocation(|a| {
            a["updated_at"] = json!("yesterday");
            a["allocated_at"] = json!(null);
        }));
        assert_eq!(answer.allocation.updated_at.as_ref().map(Moment::as_str), Some("yesterday"));
        assert_eq!(answer.allocation.allocated_at, None);
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

    /// What a status means where the body says nothing: the statuses of one meaning that follow each other are one line.
    fn meanings() -> Vec<String> {
        let meaning = |status: u16| {
            let fault = fault(attempt(status, b"{}"));
            let retried = if crate::retry::is_worth_a_retry(&fault) { "retried" } else { "final" };
            let applied = if fault.may_have_applied { "unanswered" } else { "answered" };
            format!("{} {retried} {applied}", fault.failure)
        };
        let all: Vec<(u16, String)> = (100..1000).map(|status| (status, meaning(status))).collect();
        let line = |same: &[(u16, String)]| match same {
            [(only, meaning)] => format!("{only} {meaning}"),
            _ => format!("{}-{} {}", same[0].0, same[same.len() - 1].0, same[0].1),
        };
        all.chunk_by(|(_, a), (_, b)| a == b).map(line).collect()
    }

    #[test]
    fn every_status_has_its_failure_and_is_final_or_retried_answered_or_not() {
        assert_eq!(
            meanings(),
            [
                "100-199 malformed_answer final unanswered",
                "200-299 malformed_answer retried unanswered",
                "300-303 redirected final answered",
                "304 malformed_answer final unanswered",
                "305 redirected final answered",
                "306 malformed_answer final unanswered",
                "307-308 redirected final answered",
                "309-399 malformed_answer final unanswered",
                "400 rejected final answered",
                "401 unauthorized final answered",
                "402 rejected final answered",
                "403 forbidden final answered",
                "404 not_found final answered",
                "405-407 rejected final answered",
                "408 rejected retried unanswered",
                "409 conflict final answered",
                "410-422 rejected final answered",
                "423 rejected retried answered",
                "424 rejected final answered",
                "425 rejected retried answered",
                "426-428 rejected final answered",
                "429 rate_limited retried answered",
                "430-499 rejected final answered",
                "500 server_error retried unanswered",
                "501 server_error final unanswered",
                "502-504 server_error retried unanswered",
                "505-506 server_error final unanswered",
                "507 server_error retried unanswered",
                "508-519 server_error final unanswered",
                "520-530 server_error retried unanswered",
                "531-597 server_error final unanswered",
                "598-599 server_error retried unanswered",
                "600-999 malformed_answer final unanswered",
            ]
        );
    }

    #[test]
    fn errors_are_read_by_status_in_either_shape() {
        let body = br#"{"error":"Unauthorized","message":"bad key","code":"UNAUTHORIZED","requestId":"r1","timestamp":"2026-02-10T00:00:01Z"}"#;
        let attempt = attempt(401, body);
        assert_eq!(attempt.request_id.as_deref(), Some("r1"));
        assert_eq!(attempt.timestamp, "2026-02-10T00:00:01Z".parse().ok());
        assert_eq!(fault(attempt).failure, Failure::Unauthorized);
    }
}
