//! The API's whole behaviour as one function of the state, the moment and the request.
//!
//! No I/O but the journal's append, no waiting, no chance: which fault a call meets is an argument.

use axum::body::Bytes;
use axum::http::Request;
use jiff::Timestamp;

use super::answer::Answer;
use super::fault::{Fault, ListFault};
use super::key::{Keys, key_of};
use super::limit::Standing;
use super::list::{self, Query};
use super::problem::{self, Problem};
use super::route::{Kind, Route};
use super::scope::Scope;
use super::state::{Effect, State};
use super::{v1, v2};
use crate::dialect::Dialect;
use crate::vm::Action;

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

/// What a well-formed request asks for.
#[derive(Debug)]
pub(super) enum Ask {
    Act(Action),
    Look,
    List(Query),
}

/// A call with an accepted key, within the limit and well-formed.
#[derive(Debug)]
pub(super) struct Admitted {
    ask: Ask,
    standing: Option<Standing>,
}

/// Checks in this order: the key, the limit, the key's scopes, method, content type and body. The error is the whole
/// reaction.
pub(super) fn admit(
    state: &mut State,
    keys: &Keys,
    now: Timestamp,
    route: Route<'_>,
    request: &Request<Bytes>,
) -> Result<Admitted, Reaction> {
    let Some(scopes) = keys.accept(key_of(route.dialect(), request.headers())) else {
        return Err(Reaction::refusal(Answer::problem(problem::UNAUTHORIZED)));
    };
    let standing = state.limit(now);
    if standing.is_some_and(|standing| standing.wait.is_some()) {
        return Err(Reaction::refusal(Answer::too_many(standing)));
    }
    let ask = match scopes.hold(needed(route.kind(request.method()))) {
        true => read(route, request),
        false => Err(problem::FORBIDDEN),
    };
    match ask {
        Ok(ask) => Ok(Admitted { ask, standing }),
        Err(problem) => Err(Reaction::refusal(Answer::problem(problem).with(standing))),
    }
}

fn needed(kind: Kind) -> Scope {
    match kind {
        Kind::Call => Scope::WriteNetwork,
        Kind::Look | Kind::List => Scope::ReadVm,
    }
}

pub(super) fn read(route: Route<'_>, request: &Request<Bytes>) -> Result<Ask, Problem> {
    match route {
        Route::Vm(Dialect::V1, _) => v1::read(request).map(Ask::Act),
        Route::Vm(Dialect::V2, _) => v2::read(request).map(|action| action.map_or(Ask::Look, Ask::Act)),
        Route::List => list::read(request).map(Ask::List),
    }
}

/// Checks the id, looks for the VM and acts, as far as `fault` lets it.
pub(super) fn respond(
    state: &mut State,
    now: Timestamp,
    route: Route<'_>,
    admitted: &Admitted,
    fault: Option<Fault>,
) -> Reaction {
    let &Admitted { ref ask, standing } = admitted;
    let (effect, answer) = match fault {
        Some(fault) if !fault.acts() => (Effect::Nothing, None),
        Some(_) | None => {
            let of_lists = fault.and_then(Fault::of_lists);
            let (effect, answer) = act(state, now, route, ask, of_lists);
            (effect, Some(answer.with(standing)))
        }
    };
    let succeeds = answer.as_ref().is_some_and(|answer| answer.status.is_success());
    let fault = fault.filter(|fault| succeeds || !fault.needs_success());
    let answer = match fault {
        Some(fault) => Answer::of(fault, standing, answer),
        None => answer,
    };
    Reaction { action: ask.action(), effect, fault, answer }
}

/// What comes of a call that an outage keeps from being looked at.
pub(super) fn fail(route: Route<'_>, request: &Request<Bytes>, fault: Fault) -> Reaction {
    Reaction {
        action: read(route, request).ok().and_then(|ask| ask.action()),
        effect: Effect::Nothing,
        fault: Some(fault),
        answer: Answer::of(fault, None, None),
    }
}

/// What comes of a request with which nothing else goes wrong.
pub(super) fn act(
    state: &mut State,
    now: Timestamp,
    route: Route<'_>,
    ask: &Ask,
    fault: Option<ListFault>,
) -> (Effect, Answer) {
    let done = match (ask, route) {
        (&Ask::Act(action), Route::Vm(Dialect::V1, vmid)) => v1::act(state, now, vmid, action),
        (&Ask::Act(action), Route::Vm(Dialect::V2, id)) => v2::act(state, now, id, action),
        (Ask::Look, Route::Vm(_, id)) => v2::look(state, id).map(unchanged),
        (Ask::List(query), _) => Ok(unchanged(query.page(state, fault))),
        (Ask::Act(_) | Ask::Look, Route::List) => Err(problem::METHOD),
    };
    done.unwrap_or_else(|problem| unchanged(Answer::problem(problem)))
}

fn unchanged(answer: Answer) -> (Effect, Answer) {
    (Effect::Nothing, answer)
}

impl Ask {
    fn action(&self) -> Option<Action> {
        match self {
            &Self::Act(action) => Some(action),
            Self::Look | Self::List(_) => None,
        }
    }
}

impl Reaction {
    fn refusal(answer: Answer) -> Self {
        Self { action: None, effect: Effect::Nothing, fault: None, answer: Some(answer) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
    use axum::http::{HeaderMap, HeaderValue, Method};
    use serde_json::Value;

    use super::*;
    use crate::sandbox::answer::Sending;
    use crate::sandbox::body::BODY_LIMIT;
    use crate::sandbox::world::tests::parse;
    use crate::sandbox::{Limit, LimitKind, RateLimitForm, RateLimitHeaders, RetryAfter, Settings, World};

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
        let route = Route::Vm(Dialect::V1, vmid);
        match admit(state, &Keys::Any, now(), route, request) {
            Ok(admitted) => respond(state, now(), route, &admitted, fault),
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

    fn sending(settings: &Settings) -> Sending<'_> {
        Sending { path: PATH, at: now(), dated: Some(now()), request_id: "id", settings }
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
        let (parts, body) = answer.render(&sending(&settings)).into_parts();
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
            let response = answer.render(&sending(&settings));
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
        let page = answer("html-520").render(&sending(&Settings::default()));
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
