//! What an API says as it is documented, in either dialect.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Answer, answer, json_answer};
use crate::dialect::Dialect;

pub(crate) trait Speech {
    /// The documented success, of an allocation made so many seconds ago.
    fn success(self, status: u16, created: bool, age_s: i64) -> Answer;

    /// What [`Self::success`] says.
    fn success_body(self, created: bool, age_s: i64) -> Value;

    /// A success that says this: v2's has no time of its own, and is dated by its head.
    fn says(self, status: u16, body: &Value) -> Answer;

    /// What a look finds where there is no allocation.
    fn nothing(self) -> Answer;

    /// The documented error.
    fn error(self, status: u16, code: &str) -> Answer;

    /// A 2xx that refuses for this reason.
    fn refusal(self, status: u16, reason: &str) -> Answer;

    /// The allocation in a success.
    fn allocation(self, body: &mut Value) -> &mut Value;

    /// What it calls a field of an allocation that v1 calls so.
    fn field(self, name: &str) -> String;
}

impl Speech for Dialect {
    fn success(self, status: u16, created: bool, age_s: i64) -> Answer {
        Answer { makes: created, ..self.says(status, &self.success_body(created, age_s)) }
    }

    fn success_body(self, created: bool, age_s: i64) -> Value {
        let now = Timestamp::now();
        let at = now - SignedDuration::from_secs(age_s);
        match self {
            Self::V1 => v1_success(created, now, at),
            Self::V2 => v2_state(&json!(created), &v2_allocation(at)),
        }
    }

    fn says(self, status: u16, body: &Value) -> Answer {
        let answer = json_answer(status, body);
        match self {
            Self::V1 => answer,
            Self::V2 => answer.header("date", http_date(Timestamp::now())),
        }
    }

    fn nothing(self) -> Answer {
        self.says(200, &v2_state(&Value::Null, &Value::Null))
    }

    fn error(self, status: u16, code: &str) -> Answer {
        let detail = format!("it is {code}");
        match self {
            Self::V1 => {
                let body = json!({
                    "error": "Error", "message": detail, "code": code,
                    "timestamp": Timestamp::now().to_string(), "requestId": "r-1",
                });
                json_answer(status, &body)
            }
            Self::V2 => problem(status, &code.to_lowercase(), &detail),
        }
    }

    fn refusal(self, status: u16, reason: &str) -> Answer {
        match self {
            Self::V1 => json_answer(status, &json!({"success": false, "message": reason})),
            Self::V2 => {
                let mut body = v2_state(&json!(false), &Value::Null);
                (body["available"], body["reason"]) = (false.into(), reason.into());
                self.says(status, &body)
            }
        }
    }

    fn allocation(self, body: &mut Value) -> &mut Value {
        match self {
            Self::V1 => &mut body["data"]["allocation"],
            Self::V2 => &mut body["allocation"],
        }
    }

    fn field(self, name: &str) -> String {
        let words = name.split('_').enumerate();
        match self {
            Self::V1 => name.to_owned(),
            Self::V2 => {
                words.map(|(nth, word)| if nth == 0 { word.to_owned() } else { capitalised(word) }).collect()
            }
        }
    }
}

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// A moment as a `Date` has it, in whole seconds.
pub(crate) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A problem document of RFC 9457.
pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Answer {
    let body = json!({
        "type": format!("https://developer.hostup.se/problems/{code}"), "title": "T", "status": status,
        "detail": detail, "code": code, "instance": "/api/v2/vps", "requestId": "r-1",
        "timestamp": Timestamp::now().to_string(),
    });
    answer(status, "application/problem+json", body.to_string())
}

fn v1_success(created: bool, now: Timestamp, at: Timestamp) -> Value {
    let postgresql = at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string();
    json!({
        "success": true, "timestamp": now.to_string(), "requestId": "r-2",
        "data": { "created": created, "allocation": {
            "id": 3, "rack_id": "dc1r28", "client_id": "30000", "account_id": "20000", "proxmox_vm_id": "10048",
            "prefix": "2001:db8::1/48", "prefix_length": 48, "next_hop": "2001:db8::1", "status": "active",
            "allocated_at": postgresql, "released_at": null, "cooldown_until": null,
            "metadata": { "updatedAt": at.to_string(), "updatedBy": "1" },
            "created_at": postgresql, "updated_at": postgresql,
        }},
    })
}

fn v2_state(created: &Value, allocation: &Value) -> Value {
    json!({
        "available": true, "reason": null, "parentCidr": "2001:db8::/32", "prefixLength": 48, "cooldownDays": 7,
        "maxPerVm": 1, "suggestedNextHop": "2001:db8::1", "created": created, "allocation": allocation,
    })
}

fn v2_allocation(at: Timestamp) -> Value {
    json!({
        "id": "ripv6_01hxa3b4c5d6e7f8g9h0j1k2m3", "prefix": "2001:db8::1/48", "prefixLength": 48,
        "nextHop": "2001:db8::1", "status": "active", "allocatedAt": at.to_string(), "releasedAt": null,
        "cooldownUntil": null, "createdAt": at.to_string(), "updatedAt": at.to_string(),
    })
}
