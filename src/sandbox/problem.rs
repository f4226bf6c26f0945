//! What is wrong with a call, and the two documents that say so: v1's object of strings, and v2's problem (RFC 9457).

use axum::http::StatusCode;
use serde::Serialize;

use super::fault::{Conflict, ServerError};
use super::json::json;
use super::state::Refusal;
use crate::dialect::Dialect;

/// An error as either dialect can write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// As v2 writes it.
    code: &'static str,
    detail: &'static str,
    /// What of the call is wrong: a JSON pointer into its body, or a parameter.
    at: Option<&'static str>,
}

/// What a document says of its answer, whatever is wrong.
#[derive(Debug)]
pub(super) struct Stamp<'a> {
    pub(super) path: &'a str,
    pub(super) timestamp: Option<String>,
    pub(super) request_id: &'a str,
}

impl Problem {
    const fn new(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        Self { status, code, detail, at: None }
    }

    const fn invalid(at: &'static str, detail: &'static str) -> Self {
        Self { at: Some(at), ..Self::new(StatusCode::BAD_REQUEST, INVALID, detail) }
    }

    /// A fault that was asked for.
    pub(super) fn of_server(error: ServerError) -> Self {
        let (status, code) = match error {
            ServerError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            ServerError::BadGateway => (StatusCode::BAD_GATEWAY, "upstream_failed"),
            ServerError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable"),
            ServerError::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, "gateway_timeout"),
        };
        Self::new(status, code, FAULT)
    }

    /// The same.
    pub(super) fn of_conflict(conflict: Conflict) -> Self {
        match conflict {
            Conflict::NotReady => Self { detail: FAULT, ..NOT_READY },
            Conflict::UpstreamFailed(_) => Self::new(StatusCode::CONFLICT, "upstream_failed", FAULT),
        }
    }

    pub(super) fn document(&self, dialect: Dialect, stamp: &Stamp<'_>) -> Vec<u8> {
        let error = self.status.canonical_reason().unwrap_or("Unknown Error");
        let &Stamp { path: instance, ref timestamp, request_id } = stamp;
        match dialect {
            Dialect::V1 => {
                let code = self.v1_code();
                json(&V1 { error, message: self.detail, code, timestamp: timestamp.as_deref(), request_id })
            }
            Dialect::V2 => json(&V2 {
                r#type: "about:blank",
                title: error,
                status: self.status.as_u16(),
                detail: self.detail,
                code: self.code,
                instance,
                request_id,
                timestamp: timestamp.as_deref(),
                errors: self.at.map(|pointer| [Flaw { pointer, detail: self.detail, code: "invalid" }]),
            }),
        }
    }

    fn v1_code(&self) -> String {
        let code = if self.code == UNKNOWN_VM.code { NO_SUCH_ROUTE.code } else { self.code };
        code.to_ascii_uppercase()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownVm => UNKNOWN_VM,
            Refusal::NoAllocation => NO_ALLOCATION,
            Refusal::PoolExhausted => POOL_EXHAUSTED,
            Refusal::NotReady | Refusal::Unavailable(_) => NOT_READY,
            Refusal::Journal(error) => {
                tracing::error!(%error, "cannot write the sandbox's state file");
                INTERNAL
            }
        }
    }
}

/// v1's error body of 401, 403, 404 and 504, used for every other error but 429.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V1<'a> {
    error: &'a str,
    message: &'a str,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    request_id: &'a str,
}

/// v2's, of every error.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V2<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    instance: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[Flaw<'a>; 1]>,
}

#[derive(Serialize)]
struct Flaw<'a> {
    pointer: &'a str,
    detail: &'a str,
    code: &'a str,
}

const INVALID: &str = "invalid_request";
pub(super) const FAULT: &str = "a fault that the sandbox was asked for";
pub(super) const TOO_MANY_REQUESTS: &str = "too many calls: wait and go on";

pub(super) const UNAUTHORIZED: Problem =
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the API key is missing or not accepted");
pub(super) const FORBIDDEN: Problem =
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "the API key lacks the scope for this");
pub(super) const ACCOUNT_INACTIVE: Problem = Problem::new(StatusCode::FORBIDDEN, "account_inactive", FAULT);
pub(super) const RATE_LIMITED: Problem =
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", TOO_MANY_REQUESTS);
pub(super) const RATE_LIMIT_EXCEEDED: Problem =
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", TOO_MANY_REQUESTS);
pub(super) const NO_SUCH_ROUTE: Problem =
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path");
pub(super) const POST_ONLY: Problem =
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes POST only");
pub(super) const METHOD: Problem =
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take that method");
pub(super) const MEDIA_TYPE: Problem = Problem::new(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "unsupported_media_type",
    "the content type must be application/json",
);
pub(super) const TOO_LARGE: Problem =
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large");
pub(super) const NOT_JSON: Problem = Problem::invalid("", "the body is not a JSON object");
pub(super) const FIELDS: Problem = Problem::invalid("", "the body must have the field action and no other");
pub(super) const OPTIONAL_FIELDS: Problem =
    Problem::invalid("", "the body may have the fields action and rackId and no other");
pub(super) const ACTION: Problem = Problem::invalid("/action", "action must be allocate or refresh_next_hop");
pub(super) const RACK_ID: Problem =
    Problem::invalid("/rackId", "rackId must be a text of at most 50 characters");
pub(super) const VMID: Problem = Problem::invalid("vmid", "vmid must be an integer from 1");
pub(super) const VPS_ID: Problem =
    Problem::invalid("id", "id must be vps_ and 26 characters of Crockford's base 32 in lower case");
pub(super) const LIMIT: Problem = Problem::invalid("limit", "limit must be an integer from 1 to 100");
pub(super) const CURSOR: Problem = Problem::invalid("cursor", "the cursor is not one of this list's");
pub(super) const INCLUDE: Problem = Problem::invalid("include", "include must be pendingMaintenance");
pub(super) const PRIMARY_IP: Problem = Problem::invalid("primaryIp", "primaryIp must be an IP address");
pub(super) const PARAMETERS: Problem = Problem::invalid(
    "query",
    "the parameters are limit, cursor, include, primaryIp and name, and only include may come twice",
);
pub(super) const UNKNOWN_VM: Problem =
    Problem::new(StatusCode::NOT_FOUND, "vps_not_found", "there is no such VM");
pub(super) const NOT_READY: Problem =
    Problem::new(StatusCode::CONFLICT, "vps_not_ready", "the VM is not ready for it: ask again");
pub(super) const NO_ALLOCATION: Problem =
    Problem::new(StatusCode::CONFLICT, "no_allocation", "the VM has no routed IPv6 prefix to refresh");
pub(super) const POOL_EXHAUSTED: Problem =
    Problem::new(StatusCode::CONFLICT, "pool_exhausted", "the pool of the VM's rack has no prefix left");
pub(super) const INTERNAL: Problem = Problem::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal_error",
    "the sandbox could not write its state file",
);
