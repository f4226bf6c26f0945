//! The API's whole behaviour as one function of the state, the moment and the request.
//!
//! No I/O but the journal's append, no waiting, no chance: which fault a call meets is an argument.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER, SERVER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::fault::{EdgeError, Fault, Lie, ServerError};
use super::limit::Standing;
use super::state::{Allocation, Effect, Refusal, State};
use super::wire::{AllocationText, Envelope, EnvelopeData, Problem, RefusedEnvelope, TooMany, rfc3339};
use super::world::number;
use super::{Keys, RateLimitForm, RateLimitHeaders, RetryAfter, Settings};
use crate::inventory::Action;

/// A call's body may have so many bytes; a server hands over one more to show that there are more.
pub(super) const BODY_LIMIT: usize = 4096;

/// What the API makes of one call.
#[derive(Debug)]
pub(super) struct Reaction {
    /// The action asked for, where the body was read and names one.
    pub(super) action: Option<Action>,
    pub(super) effect: Effect,
    /// What went wrong, if it befell the call.
    pub(super) fault: Option<Fault>,
    /// `None` where nothing is to be answered.
    pub(super) answer: Option<Answer>,
}

/// An answer, still to be dated and sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content: Content,
    /// How the call stands with the limit, where there is one and it got that far.
    pub(super) standing: Option<Standing>,
}

#[derive(Debug)]
pub(super) enum Content {
    Allocation {
        created: bool,
        allocation: Box<AllocationText>,
    },
    Error {
        code: &'static str,
        message: &'static str,
    },
    TooMany,
    /// As [`Self::TooMany`], with a wait that has nothing to do with a limit.
    Lie(Lie),
    /// `"success": false`
    Refused,
    /// HTML from the edge.
    Page,
}

/// A call with an accepted key, within the limit and well-formed.
#[derive(Debug)]
pub(super) struct Admitted {
    action: Action,
    standing: Option<Standing>,
}

/// The `{vmid}` of `/api/vm/{vmid}/routed-ipv6`, whatever it is.
pub(super) fn vmid_of(path: &str) -> Option<&str> {
    let vmid = path.strip_prefix("/api/vm/")?.strip_suffix("/routed-ipv6")?;
    (!vmid.is_empty() && !vmid.contains('/')).then_some(vmid)
}

/// Checks in this order: the key, the limit, method, content type and body. The error is the whole reaction.
pub(super) fn admit(
    state: &mut State,
    keys: &Keys,
    now: Timestamp,
    request: &Request<Bytes>,
) -> Result<Admitted, Reaction> {
    if !keys.accept(key_of(request.headers())) {
        return Err(Reaction::refusal(Answer::error(UNAUTHORIZED)));
    }
    let standing = state.limit(now);
    if standing.is_some_and(|standing| standing.wait.is_some()) {
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(Reaction::refusal(Answer { status, content: Content::TooMany, standing }));
    }
    match read(request) {
        Ok(action) => Ok(Admitted { action, standing }),
        Err(error) => Err(Reaction::refusal(Answer { standing, ..Answer::error(error) })),
    }
}

/// Checks the id, looks for the VM and acts, as far as `fault` lets it.
pub(super) fn respond(
    state: &mut State,
    now: Timestamp,
    vmid: &str,
    admitted: &Admitted,
    fault: Option<Fault>,
) -> Reaction {
    let &Admitted { action, standing } = admitted;
    let (effect, answer) = match fault {
        Some(fault) if !fault.acts() => (Effect::Nothing, None),
        Some(_) | None => {
            let (effect, answer) = act(state, now, vmid, action);
            (effect, Some(Answer { standing, ..answer }))
        }
    };
    let succeeds = answer.as_ref().is_some_and(|answer| answer.status.is_success());
    let fault = fault.filter(|fault| succeeds || !fault.needs_success());
    let answer = match fault {
        Some(fault) => Answer::of(fault, standing, answer),
        None => answer,
    };
    Reaction { action: Some(action), effect, fault, answer }
}

/// What comes of a call that an outage keeps from being looked at.
pub(super) fn fail(request: &Request<Bytes>, fault: Fault) -> Reaction {
    Reaction {
        action: read(request).ok(),
        effect: Effect::Nothing,
        fault: Some(fault),
        answer: Answer::of(fault, None, None),
    }
}

/// The answer for a path that the API does not have.
pub(super) fn no_such_route() -> Answer {
    Answer::error(NO_SUCH_ROUTE)
}

pub(super) type Failure = (StatusCode, &'static str, &'static str);

const UNAUTHORIZED: Failure =
    (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the API key is missing or not accepted");
const TOO_MANY_REQUESTS: &str = "too many calls: wait and go on";
const NO_SUCH_ROUTE: Failure = (StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this path");
const METHOD: Failure = (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this path takes POST only");
const MEDIA_TYPE: Failure = (
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "UNSUPPORTED_MEDIA_TYPE",
    "the content type must be application/json",
);
const TOO_LARGE: Failure = (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", "the body is too large");
const NOT_JSON: Failure = (StatusCode::BAD_REQUEST, "INVALID_REQUEST", "the body is not a JSON object");
const FIELDS: Failure =
    (StatusCode::BAD_REQUEST, "INVALID_REQUEST", "the body must have the field action and no other");
const ACTION: Failure =
    (StatusCode::BAD_REQUEST, "INVALID_REQUEST", "action must be allocate or refresh_next_hop");
const VMID: Failure = (StatusCode::BAD_REQUEST, "INVALID_REQUEST", "vmid must be an integer from 1");
const UNKNOWN_VM: Failure = (StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such VM");
const NO_ALLOCATION: Failure =
    (StatusCode::CONFLICT, "NO_ALLOCATION", "the VM has no routed IPv6 prefix to refresh");
const POOL_EXHAUSTED: Failure =
    (StatusCode::CONFLICT, "POOL_EXHAUSTED", "the pool of the VM's rack has no prefix left");
const INTERNAL: Failure =
    (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the sandbox could not write its state file");
const FAULT: &str = "a fault that the sandbox was asked for";

fn key_of(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

pub(super) fn read(request: &Request<Bytes>) -> Result<Action, Failure> {
    if request.method() != Method::POST {
        return Err(METHOD);
    }
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(MEDIA_TYPE);
    }
    if request.body().len() > BODY_LIMIT {
        return Err(TOO_LARGE);
    }
    let fields: Map<String, Value> = serde_json::from_slice(request.body()).map_err(|_| NOT_JSON)?;
    let action = fields.get("action").filter(|_| fields.len() == 1).ok_or(FIELDS)?;
    action.as_str().and_then(|action| action.parse().ok()).ok_or(ACTION)
}

/// What comes of a call with which nothing goes wrong.
pub(super) fn act(state: &mut State, now: Timestamp, vmid: &str, action: Action) -> (Effect, Answer) {
    let Some(vmid) = number(vmid) else {
        return (Effect::Nothing, Answer::error(VMID));
    };
    let result = match action {
        Action::Allocate => state.allocate(vmid, now),
        Action::RefreshNextHop => state.refresh(vmid, now),
    };
    let error = match result {
        Ok((effect, allocation)) => return (effect, Answer::allocation(state, vmid, effect, &allocation)),
        Err(Refusal::UnknownVm) => UNKNOWN_VM,
        Err(Refusal::NoAllocation) => NO_ALLOCATION,
        Err(Refusal::PoolExhausted) => POOL_EXHAUSTED,
        Err(Refusal::Journal(error)) => {
            tracing::error!(%error, "cannot write the sandbox's state file");
            INTERNAL
        }
    };
    (Effect::Nothing, Answer::error(error))
}

impl Reaction {
    fn refusal(answer: Answer) -> Self {
        Self { action: None, effect: Effect::Nothing, fault: None, answer: Some(answer) }
    }
}

impl Answer {
    fn error((status, code, message): Failure) -> Self {
        Self { status, content: Content::Error { code, message }, standing: None }
    }

    fn allocation(state: &State, vmid: u64, effect: Effect, allocation: &Allocation) -> Self {
        let created = effect == Effect::Created;
        let rack = &state.rack(allocation.rack).name;
        let allocation = Box::new(AllocationText::new(vmid, allocation, rack, created));
        Self {
            status: if created { StatusCode::CREATED } else { StatusCode::OK },
            content: Content::Allocation { created, allocation },
            standing: None,
        }
    }

    /// The edge's own.
    fn page(status: StatusCode) -> Self {
        Self { status, content: Content::Page, standing: None }
    }

    /// What is answered in place of the `ordinary` answer; faults that spoil it on its way leave it as it is.
    fn of(fault: Fault, standing: Option<Standing>, ordinary: Option<Self>) -> Option<Self> {
        let (status, content) = match fault {
            Fault::Reset(_)
            | Fault::Hang(_)
            | Fault::StreamReset(_)
            | Fault::RefusedStream
            | Fault::GoAway
            | Fault::Silence(_)
            | Fault::LateEffect => return None,
            Fault::Late | Fault::Truncated | Fault::Garbage | Fault::Endless => return ordinary,
            Fault::Status(error, _) => {
                let (status, code) = server_error(error);
                (status, Content::Error { code, message: FAULT })
            }
            // The edge knows nothing of the API's limit.
            Fault::Html(error) => return Some(Self::page(edge_error(error))),
            Fault::Cached => return Some(Self::page(StatusCode::BAD_GATEWAY)),
            Fault::Stale => {
                let (status, code) = server_error(ServerError::Unavailable);
                (status, Content::Error { code, message: FAULT })
            }
            Fault::RefusedByApi => (StatusCode::OK, Content::Refused),
            Fault::Lie(lie) => (StatusCode::TOO_MANY_REQUESTS, Content::Lie(lie)),
        };
        Some(Self { status, content, standing })
    }

    /// The answer as it is sent at `now`, though it may be `dated` otherwise, or not at all.
    pub(super) fn render(
        &self,
        now: Timestamp,
        dated: Option<Timestamp>,
        request_id: &str,
        settings: &Settings,
    ) -> Response<Vec<u8>> {
        let mut response = Response::new(self.body(now, dated, request_id, settings.retry_after));
        *response.status_mut() = self.status;
        let map = response.headers_mut();
        let content_type = match self.content {
            Content::Page => "text/html; charset=UTF-8",
            _ => "application/json; charset=utf-8",
        };
        map.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(dated) = dated {
            insert(map, DATE.as_str(), &http_date(dated));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            map.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        match &self.content {
            Content::Page => insert(map, SERVER.as_str(), "edge"),
            Content::Lie(lie) => insert(map, RETRY_AFTER.as_str(), &lie_text(*lie, now)),
            Content::Allocation { .. } | Content::Error { .. } | Content::TooMany | Content::Refused => {}
        }
        if let Some(standing) = &self.standing {
            say_when(map, standing, now, settings.retry_after);
            announce(map, standing, now, settings);
        }
        response
    }

    fn body(
        &self,
        now: Timestamp,
        dated: Option<Timestamp>,
        request_id: &str,
        retry_after: RetryAfter,
    ) -> Vec<u8> {
        let error = self.status.canonical_reason().unwrap_or("Unknown Error");
        let timestamp = dated.map(rfc3339);
        match &self.content {
            Content::Allocation { created, allocation } => {
                let data = EnvelopeData { created: *created, allocation };
                json(&Envelope { success: true, timestamp, request_id, data })
            }
            &Content::Error { code, message } => {
                json(&Problem { error, message, code, timestamp, request_id })
            }
            Content::TooMany => {
                let wait = self.standing.and_then(|standing| standing.wait);
                let wait = wait.filter(|_| retry_after != RetryAfter::None);
                let retry_after = wait.map(|wait| whole_seconds(wait).to_string());
                json(&TooMany { error, message: TOO_MANY_REQUESTS, retry_after, request_id })
            }
            &Content::Lie(lie) => {
                // As a date in the past, the header lies alone: no number can say the same.
                let retry_after = (lie != Lie::Past).then(|| lie_text(lie, now));
                json(&TooMany { error, message: TOO_MANY_REQUESTS, retry_after, request_id })
            }
            Content::Refused => {
                json(&RefusedEnvelope { success: false, message: FAULT, timestamp, request_id })
            }
            Content::Page => page(self.status).into_bytes(),
        }
    }
}

fn server_error(error: ServerError) -> (StatusCode, &'static str) {
    match error {
        ServerError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        ServerError::BadGateway => (StatusCode::BAD_GATEWAY, "UPSTREAM_FAILED"),
        ServerError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        ServerError::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, "GATEWAY_TIMEOUT"),
    }
}

fn edge_error(error: EdgeError) -> StatusCode {
    match error {
        EdgeError::Forbidden => StatusCode::FORBIDDEN,
        EdgeError::BadGateway => StatusCode::BAD_GATEWAY,
        // The edge's own, which no RFC names; any number from 100 to 999 is a status.
        EdgeError::Unknown => StatusCode::from_u16(520).unwrap_or(StatusCode::BAD_GATEWAY),
    }
}

fn page(status: StatusCode) -> String {
    let number = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Web server is returning an unknown error");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head><title>{number}: {reason}</title></head>\n\
         <body><h1>Error {number}</h1><p>{reason}</p></body>\n</html>\n"
    )
}

fn lie_text(lie: Lie, now: Timestamp) -> String {
    match lie {
        Lie::Seconds(seconds) => seconds.to_string(),
        Lie::Zero => "0".into(),
        Lie::Negative => "-5".into(),
        Lie::Fraction => "1.5".into(),
        Lie::Year => "31536000".into(),
        Lie::Past => http_date(now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now)),
    }
}

/// `Retry-After`, where the call must wait.
fn say_when(map: &mut HeaderMap, standing: &Standing, now: Timestamp, retry_after: RetryAfter) {
    match (retry_after, standing.wait) {
        (RetryAfter::Seconds, Some(wait)) => {
            insert(map, RETRY_AFTER.as_str(), &whole_seconds(wait).to_string());
        }
        (RetryAfter::Date, Some(wait)) => insert(map, RETRY_AFTER.as_str(), &http_date(after(now, wait))),
        (RetryAfter::None, _) | (_, None) => {}
    }
}

/// How the call stands with the limit, where this is said.
fn announce(map: &mut HeaderMap, standing: &Standing, now: Timestamp, settings: &Settings) {
    match settings.rate_limit_headers {
        RateLimitHeaders::Never => return,
        RateLimitHeaders::On429 if standing.wait.is_none() => return,
        RateLimitHeaders::On429 | RateLimitHeaders::Always => {}
    }
    let &Standing { limit, remaining, reset_at, policy: (calls, seconds), .. } = standing;
    let delta = whole_seconds(reset_at.duration_since(now).try_into().unwrap_or_default());
    let reset = match settings.rate_limit_form {
        RateLimitForm::XIso => rfc3339(reset_at),
        RateLimitForm::XEpoch => after(reset_at, Duration::ZERO).as_second().to_string(),
        RateLimitForm::XDelta => delta.to_string(),
        RateLimitForm::Ietf => {
            insert(map, "ratelimit-policy", &format!("\"default\";q={calls};w={seconds}"));
            return insert(map, "ratelimit", &format!("\"default\";r={remaining};t={delta}"));
        }
    };
    insert(map, "x-ratelimit-limit", &limit.to_string());
    insert(map, "x-ratelimit-remaining", &remaining.to_string());
    insert(map, "x-ratelimit-reset", &reset);
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// `wait` after `now`, as a whole second that is not before it.
fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    let almost_a_second = SignedDuration::new(0, 999_999_999);
    now.saturating_add(wait.saturating_add(almost_a_second)).unwrap_or(Timestamp::MAX)
}

fn insert(map: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        map.insert(name, value);
    }
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Of types without maps, which always have a JSON form.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::world::tests::parse;
    use crate::sandbox::{Limit, LimitKind, World};

    const ALLOCATE: &str = r#"{"action":"allocate"}"#;
    const REFRESH: &str = r#"{"action":"refresh_next_hop"}"#;
    const PATH: &str = "/api/vm/10000/routed-ipv6";

    fn now() -> Timestamp {
        "2026-11-23T02:15:00.123456789Z".parse().unwrap()
    }

    /// A complete call, for tests to spoil.
    fn request(body: impl Into<Bytes>) -> Request<Bytes> {
        Request::post(PATH)
            .header("x-api-key", "key")
            .header(CONTENT_TYPE, "application/json")
            .body(body.into())
            .unwrap()
    }

    fn react(state: &mut State, vmid: &str, request: &Request<Bytes>, fault: Option<Fault>) -> Reaction {
        match admit(state, &Keys::Any, now(), request) {
            Ok(admitted) => respond(state, now(), vmid, &admitted, fault),
            Err(reaction) => reaction,
        }
    }

    fn ask_for(state: &mut State, vmid: &str, request: &Request<Bytes>) -> (Answer, Effect) {
        let Reaction { effect, answer, .. } = react(state, vmid, request, None);
        (answer.unwrap(), effect)
    }

    fn ask(state: &mut State, vmid: &str, request: &Request<Bytes>) -> Answer {
        ask_for(state, vmid, request).0
    }

    fn status(vmid: &str, request: &Request<Bytes>) -> u16 {
        ask(&mut State::new(World::built_in(), None), vmid, request).status.as_u16()
    }

    fn rendered(answer: &Answer) -> (HeaderMap, Value) {
        rendered_as(answer, RetryAfter::Seconds, RateLimitHeaders::On429)
    }

    fn rendered_as(
        answer: &Answer,
        retry_after: RetryAfter,
        rate_limit_headers: RateLimitHeaders,
    ) -> (HeaderMap, Value) {
        let settings = Settings { retry_after, rate_limit_headers, ..Settings::default() };
        let (parts, body) = answer.render(now(), Some(now()), "id", &settings).into_parts();
        (parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn an_allocation_is_written_as_documented() {
        let mut state = State::new(World::built_in(), None);
        let (created, effect) = ask_for(&mut state, "10000", &request(ALLOCATE));
        assert_eq!((created.status.as_u16(), effect), (201, Effect::Created));
        let expected = serde_json::json!({
            "success": true,
            "timestamp": "2026-11-23T02:15:00.123Z",
            "requestId": "id",
            "data": {
                "created": true,
                "allocation": {
                    "id": 1, "rack_id": "dc1r27", "client_id": "30000", "account_id": "20000",
                    "proxmox_vm_id": "10048",
                    "prefix": "2001:db8:1027:1000::1/56", "prefix_length": 56,
                    "next_hop": "2001:db8:1000::1/128", "status": "active",
                    "allocated_at": "2026-11-23 02:15:00.123456+00", "released_at": null, "cooldown_until": null,
                    "metadata": { "updatedAt": "2026-11-23T02:15:00.123Z", "updatedBy": "1" },
                    "created_at": "2026-11-23 02:15:00.123456+00", "updated_at": "2026-11-23 02:15:00.123456+00"
                }
            }
        });
        assert_eq!(rendered(&created).1, expected);
        assert_eq!(rendered(&created).0[DATE], "Mon, 23 Nov 2026 02:15:00 GMT");

        let (again, effect) = ask_for(&mut state, "10000", &request(ALLOCATE));
        assert_eq!((again.status.as_u16(), effect), (200, Effect::Nothing));
        let mut expected = expected;
        expected["data"]["created"] = false.into();
        expected["data"]["allocation"]["next_hop"] = "2001:db8:1000::1".into();
        assert_eq!(rendered(&again).1, expected);
    }

    #[test]
    fn host_bits_are_set_for_even_ids_only() {
        let mut state = State::new(World::built_in(), None);
        for (vmid, prefix) in [("10000", "2001:db8:1027:1000::1/56"), ("10001", "2001:db8:1027:1100::/56")] {
            let (_, body) = rendered(&ask(&mut state, vmid, &request(ALLOCATE)));
            assert_eq!(body["data"]["allocation"]["prefix"], prefix);
        }
    }

    #[test]
    fn a_refresh_moves_the_next_hop_and_the_times_only_where_the_rack_had_maintenance() {
        let mut state = State::new(World::built_in(), None);
        let long_ago = "2026-02-10 00:00:00.658429+00";
        for (vmid, effect, next_hop, updated_at) in [
            ("10106", Effect::Moved, "2001:db8:2000::2", "2026-11-23 02:15:00.123456+00"),
            ("10106", Effect::Nothing, "2001:db8:2000::2", "2026-11-23 02:15:00.123456+00"),
            ("10006", Effect::Nothing, "2001:db8:1000::1", long_ago),
        ] {
            let (answer, seen) = ask_for(&mut state, vmid, &request(REFRESH));
            let (_, body) = rendered(&answer);
            let allocation = &body["data"]["allocation"];
            assert_eq!((answer.status.as_u16(), seen), (200, effect), "{vmid}");
            assert_eq!(body["data"]["created"], false);
            assert_eq!(allocation["next_hop"], next_hop);
            assert_eq!(allocation["updated_at"], updated_at);
            assert_eq!(allocation["allocated_at"], long_ago);
        }
        let (_, untouched) = rendered(&ask(&mut state, "10107", &request(ALLOCATE)));
        assert_eq!(untouched["data"]["allocation"]["next_hop"], "2001:db8:2000::1");
    }

    #[test]
    fn what_is_wrong_with_a_call_decides_its_status() {
        let with = |name: &'static str, value: &str| {
            let mut spoiled = request(ALLOCATE);
            spoiled.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
            spoiled
        };
        let without = |name: &'static str| {
            let mut spoiled = request(ALLOCATE);
            spoiled.headers_mut().remove(name);
            spoiled
        };
        let method = |method: Method| {
            let mut spoiled = request(ALLOCATE);
            *spoiled.method_mut() = method;
            spoiled
        };
        for (expected, request) in [
            (201, request(ALLOCATE)),
            (201, with("content-type", "Application/JSON; charset=utf-8")),
            (401, without("x-api-key")),
            (401, with("x-api-key", "")),
            (401, with("x-api-key", "wrong-key")),
            (405, method(Method::GET)),
            (405, method(Method::DELETE)),
            (415, without("content-type")),
            (415, with("content-type", "text/plain")),
            (413, request(vec![b' '; BODY_LIMIT + 1])),
            (400, request(vec![b' '; BODY_LIMIT])),
        ] {
            assert_eq!(status("10000", &request), expected, "{request:?}");
        }
    }

    #[test]
    fn a_body_is_one_object_with_one_known_action() {
        for body in [
            "",
            "allocate",
            "\"allocate\"",
            "[\"allocate\"]",
            "null",
            "{}",
            r#"{"action":"allocate""#,
            r#"{"action":"release"}"#,
            r#"{"action":null}"#,
            r#"{"action":["allocate"]}"#,
            r#"{"action":"allocate","rackId":"dc1r28"}"#,
            r#"{"Action":"allocate"}"#,
            "{\"action\":\"\u{0}\"}",
        ] {
            assert_eq!(status("10000", &request(body)), 400, "{body}");
        }
        assert_eq!(status("10000", &request(&b"{\"action\":\"\xff\"}"[..])), 400);
    }

    #[test]
    fn vms_are_looked_for_last() {
        for (vmid, body, expected) in [
            ("0", ALLOCATE, 400),
            ("abc", ALLOCATE, 400),
            ("%31", ALLOCATE, 400),
            ("9223372036854775808", ALLOCATE, 400),
            ("9223372036854775807", ALLOCATE, 200),
            ("10099", ALLOCATE, 404),
            ("10099", REFRESH, 404),
            ("10099", "{}", 400),
            ("10000", REFRESH, 409),
            ("10006", REFRESH, 200),
            ("10006", ALLOCATE, 200),
        ] {
            assert_eq!(status(vmid, &request(body)), expected, "{vmid} {body}");
        }
    }

    #[test]
    fn either_header_carries_the_key() {
        for (name, value, expected) in [
            ("authorization", "Bearer key", 201),
            ("authorization", "bearer  key", 201),
            ("authorization", "Bearer wrong-key", 401),
            ("authorization", "Bearer ", 401),
            ("authorization", "Basic key", 401),
            ("authorization", "key", 401),
            ("x-api-key", "key", 201),
        ] {
            let mut request = request(ALLOCATE);
            request.headers_mut().remove("x-api-key");
            request.headers_mut().insert(name, HeaderValue::from_static(value));
            assert_eq!(status("10000", &request), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_key_is_asked_for_before_everything_else() {
        let mut spoiled = request("no body");
        spoiled.headers_mut().clear();
        *spoiled.method_mut() = Method::PUT;
        assert_eq!(status("no id", &spoiled), 401);
    }

    #[test]
    fn an_error_is_an_object_of_strings_with_a_code() {
        let (headers, body) =
            rendered(&ask(&mut State::new(World::built_in(), None), "10099", &request(ALLOCATE)));
        let expected = serde_json::json!({
            "error": "Not Found", "message": "there is no such VM", "code": "NOT_FOUND",
            "timestamp": "2026-11-23T02:15:00.123Z", "requestId": "id",
        });
        assert_eq!(body, expected);
        assert!(headers.contains_key(DATE) && !headers.contains_key("x-ratelimit-limit"));
    }

    #[test]
    fn a_429_has_no_code_and_says_in_every_form_when_to_come_back() {
        let limit = Limit::new("1/10s".parse().unwrap(), LimitKind::FixedWindow);
        let mut state = State::new(World::built_in(), Some(limit));
        let passed = ask(&mut state, "10000", &request(ALLOCATE));
        let (limited, effect) = ask_for(&mut state, "10001", &request(ALLOCATE));
        assert_eq!((limited.status.as_u16(), effect), (429, Effect::Nothing));
        let (headers, body) = rendered(&limited);
        let expected = serde_json::json!({
            "error": "Too Many Requests", "message": "too many calls: wait and go on", "retryAfter": "10",
            "requestId": "id",
        });
        assert_eq!(body, expected);
        assert_eq!(headers[RETRY_AFTER], "10");
        assert_eq!(headers["x-ratelimit-limit"], "1");
        assert_eq!(headers["x-ratelimit-remaining"], "0");
        assert_eq!(headers["x-ratelimit-reset"], "2026-11-23T02:15:10.000Z");
        let (headers, _) = rendered_as(&limited, RetryAfter::Date, RateLimitHeaders::Never);
        assert_eq!(headers[RETRY_AFTER], "Mon, 23 Nov 2026 02:15:10 GMT");
        assert!(!headers.contains_key("x-ratelimit-reset"));
        let (headers, body) = rendered_as(&limited, RetryAfter::None, RateLimitHeaders::Never);
        assert!(!headers.contains_key(RETRY_AFTER) && body.get("retryAfter").is_none());
        for (when, announced) in [
            (RateLimitHeaders::Never, false),
            (RateLimitHeaders::On429, false),
            (RateLimitHeaders::Always, true),
        ] {
            let (headers, _) = rendered_as(&passed, RetryAfter::Seconds, when);
            assert_eq!(headers.contains_key("x-ratelimit-remaining"), announced, "{when:?}");
            assert!(!headers.contains_key(RETRY_AFTER));
        }
    }

    #[test]
    fn calls_without_an_accepted_key_do_not_use_up_the_limit() {
        let limit = Limit::new("1/h".parse().unwrap(), LimitKind::SlidingWindow);
        let mut state = State::new(World::built_in(), Some(limit));
        let mut keyless = request(ALLOCATE);
        keyless.headers_mut().remove("x-api-key");
        for (request, expected) in
            [(&keyless, 401), (&request(ALLOCATE), 201), (&request(ALLOCATE), 429), (&keyless, 401)]
        {
            assert_eq!(ask(&mut state, "10000", request).status.as_u16(), expected);
        }
    }

    #[test]
    fn a_retry_date_is_never_before_the_wait_is_over() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        for (start, wait_ms, date) in [
            ("2026-11-23T02:15:00Z", 1_000, "Mon, 23 Nov 2026 02:15:01 GMT"),
            ("2026-11-23T02:15:00.9Z", 300, "Mon, 23 Nov 2026 02:15:02 GMT"),
            ("2026-11-23T02:15:00.1Z", 300, "Mon, 23 Nov 2026 02:15:01 GMT"),
        ] {
            assert_eq!(http_date(after(at(start), Duration::from_millis(wait_ms))), date);
        }
    }

    #[test]
    fn an_exhausted_pool_is_a_conflict_and_prefixes_never_overlap() {
        let world = parse(
            "[racks.a]\npool = \"fd00::/46\"\nprefix_length = 48\nnext_hop = \"fd00::1\"\nvms = [\"3-7\"]\nallocated = [\"8\"]",
        );
        let mut state = State::new(world.unwrap(), None);
        let statuses = ["3", "7", "4"].map(|vmid| ask(&mut state, vmid, &request(ALLOCATE)).status.as_u16());
        assert_eq!(statuses, [201, 201, 409]);
        let prefixes: Vec<String> =
            state.allocations_after(None).map(|(_, allocation)| allocation.prefix.to_string()).collect();
        assert_eq!(prefixes, ["fd00:0:3::/48", "fd00:0:2::/48", "fd00:0:1::/48"]);
        assert_eq!(ask(&mut state, "9", &request(ALLOCATE)).status.as_u16(), 404);
    }

    #[test]
    fn only_the_documented_path_names_a_vm() {
        assert_eq!(vmid_of(PATH), Some("10000"));
        for path in [
            "/api/vm//routed-ipv6",
            "/api/vm/1/2/routed-ipv6",
            "/api/vm/1/routed-ipv6/",
            "/api/vm/1",
            "/api/v2/vm/1/routed-ipv6",
            "/",
        ] {
            assert_eq!(vmid_of(path), None, "{path}");
        }
    }

    #[test]
    fn the_limit_is_announced_in_the_form_asked_for() {
        let limit = Limit::new("3/10s".parse().unwrap(), LimitKind::FixedWindow);
        let mut state = State::new(World::built_in(), Some(limit));
        let answer = ask(&mut state, "10000", &request(ALLOCATE));
        for (form, expected) in [
            (
                RateLimitForm::XIso,
                "x-ratelimit-limit: 3, x-ratelimit-remaining: 2, x-ratelimit-reset: 2026-11-23T02:15:10.000Z",
            ),
            (
                RateLimitForm::XEpoch,
                "x-ratelimit-limit: 3, x-ratelimit-remaining: 2, x-ratelimit-reset: 1795400110",
            ),
            (RateLimitForm::XDelta, "x-ratelimit-limit: 3, x-ratelimit-remaining: 2, x-ratelimit-reset: 10"),
            (RateLimitForm::Ietf, "ratelimit-policy: \"default\";q=3;w=10, ratelimit: \"default\";r=2;t=10"),
        ] {
            let rate_limit_headers = RateLimitHeaders::Always;
            let settings = Settings { rate_limit_form: form, rate_limit_headers, ..Settings::default() };
            let response = answer.render(now(), Some(now()), "id", &settings);
            let mut headers: Vec<String> = response
                .headers()
                .iter()
                .filter(|(name, _)| name.as_str().contains("ratelimit"))
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            headers.sort();
            assert_eq!(headers.join(", "), expected, "{form:?}");
        }
    }

    #[test]
    fn a_fault_befalls_admitted_calls_and_says_what_it_did() {
        let shape = |vmid: &str, fault: &str| {
            let mut state = State::new(World::built_in(), None);
            let reaction = react(&mut state, vmid, &request(ALLOCATE), Some(fault.parse().unwrap()));
            let status = reaction.answer.map(|answer| answer.status.as_u16());
            let acted = state.allocations_after(None).count() == 1;
            assert_eq!(acted, reaction.effect == Effect::Created);
            (status, acted, reaction.fault.is_some())
        };
        for (vmid, fault, expected) in [
            ("10000", "reset-before", (None, false, true)),
            ("10000", "reset-after", (None, true, true)),
            ("10000", "hang", (None, false, true)),
            ("10000", "hang-after", (None, true, true)),
            ("10000", "stream-reset-before", (None, false, true)),
            ("10000", "stream-reset-after", (None, true, true)),
            ("10000", "refused-stream", (None, false, true)),
            ("10000", "goaway", (None, false, true)),
            ("10000", "silent-before", (None, false, true)),
            ("10000", "silent-after", (None, true, true)),
            ("10000", "late", (Some(201), true, true)),
            ("10000", "500-before", (Some(500), false, true)),
            ("10000", "500-after", (Some(500), true, true)),
            ("10000", "502-before", (Some(502), false, true)),
            ("10000", "502-after", (Some(502), true, true)),
            ("10000", "503-before", (Some(503), false, true)),
            ("10000", "503-after", (Some(503), true, true)),
            ("10000", "504-before", (Some(504), false, true)),
            ("10000", "504-after", (Some(504), true, true)),
            ("10000", "html-403", (Some(403), false, true)),
            ("10000", "html-502", (Some(502), false, true)),
            ("10000", "html-520", (Some(520), false, true)),
            ("10000", "truncated", (Some(201), true, true)),
            ("10000", "garbage", (Some(201), true, true)),
            ("10000", "endless", (Some(201), true, true)),
            ("10000", "refused-by-api", (Some(200), false, true)),
            ("10000", "429-second", (Some(429), false, true)),
            ("10000", "429-zero", (Some(429), false, true)),
            ("10000", "429-negative", (Some(429), false, true)),
            ("10000", "429-fraction", (Some(429), false, true)),
            ("10000", "429-year", (Some(429), false, true)),
            ("10000", "429-past", (Some(429), false, true)),
            ("10099", "truncated", (Some(404), false, false)),
            ("10099", "garbage", (Some(404), false, false)),
            ("10099", "endless", (Some(404), false, false)),
            ("10099", "500-after", (Some(500), false, true)),
            ("x", "reset-after", (None, false, true)),
        ] {
            assert_eq!(shape(vmid, fault), expected, "{vmid} {fault}");
        }
        let mut state = State::new(World::built_in(), None);
        let refused = react(&mut state, "10000", &request("{}"), "hang".parse().ok());
        assert_eq!(refused.answer.map(|answer| answer.status.as_u16()), Some(400));
        assert_eq!(refused.fault, None);
    }

    #[test]
    fn a_lying_429_says_its_lie_in_the_header_and_the_body() {
        for (fault, header, body) in [
            ("429-second", "1", Some("1")),
            ("429-zero", "0", Some("0")),
            ("429-negative", "-5", Some("-5")),
            ("429-fraction", "1.5", Some("1.5")),
            ("429-year", "31536000", Some("31536000")),
            ("429-past", "Mon, 23 Nov 2026 01:15:00 GMT", None),
        ] {
            let mut state = State::new(World::built_in(), None);
            let reaction = react(&mut state, "10000", &request(ALLOCATE), fault.parse().ok());
            let (headers, json) = rendered(&reaction.answer.unwrap());
            assert_eq!(headers[RETRY_AFTER], header, "{fault}");
            assert_eq!(json["retryAfter"].as_str(), body, "{fault}");
        }
    }

    #[test]
    fn the_edge_answers_in_html_and_a_refusal_in_a_200_says_so() {
        let mut state = State::new(World::built_in(), None);
        let mut answer =
            |fault: &str| react(&mut state, "10000", &request(ALLOCATE), fault.parse().ok()).answer.unwrap();
        let page = answer("html-520").render(now(), Some(now()), "id", &Settings::default());
        assert_eq!(page.headers()[CONTENT_TYPE], "text/html; charset=UTF-8");
        let text = String::from_utf8(page.into_body()).unwrap();
        assert!(text.contains("<title>520: Web server is returning an unknown error</title>"), "{text}");
        let (_, refused) = rendered(&answer("refused-by-api"));
        let expected = serde_json::json!({
            "success": false, "message": "a fault that the sandbox was asked for",
            "timestamp": "2026-11-23T02:15:00.123Z", "requestId": "id",
        });
        assert_eq!(refused, expected);
    }
}
