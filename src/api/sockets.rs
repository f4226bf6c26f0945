//! Calls over sockets: what is sent in each dialect, and what comes of what is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use super::*;
use crate::allocation::Allocation;
use crate::outcome::Failure;
use crate::sandbox::{Keys, Running, Sandbox, Settings, World};

const KEY: &str = "secret-marker";
const VPS: &str = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";

fn api(dialect: Dialect, base_url: &str) -> Api {
    let endpoint = Endpoint {
        base_url: base_url.parse().unwrap(),
        dialect,
        key: KEY.into(),
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        pool: 4,
        extra_roots: None,
        proxy: None,
    };
    Api::new(&endpoint).unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Answers one request after the other so. Returns the requests as they came.
fn answering(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let each = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = request(&stream);
            stream.write_all(answer.as_bytes()).unwrap();
            request
        };
        answers.into_iter().map(each).collect()
    };
    (address, thread::spawn(serve))
}

fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        reader.read_line(&mut text).unwrap();
    }
    text = text.to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} -\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn each_dialect_has_its_path_its_header_for_the_key_and_the_same_body() {
    for (dialect, id, line, key) in [
        (Dialect::V1, "10000", "post /api/vm/10000/routed-ipv6 http/1.1", "x-api-key: secret-marker"),
        (
            Dialect::V2,
            VPS,
            "post /api/v2/vps/vps_01hxa3b4c5d6e7f8g9h0j1k2m3/routed-ipv6 http/1.1",
            "authorization: bearer secret-marker",
        ),
    ] {
        for (action, body) in [
            (Action::Allocate, r#"{"action":"allocate"}"#),
            (Action::RefreshNextHop, r#"{"action":"refresh_next_hop"}"#),
        ] {
            let (address, server) = answering(vec![answer(500, "", "{}")]);
            wait(api(dialect, &format!("http://{address}")).call(&VmId::from(id), action));
            let request = server.join().unwrap().remove(0);
            assert_eq!(request.lines().next(), Some(line));
            assert_eq!(request.lines().last(), Some(body));
            let carries_the_key: Vec<_> = request.lines().filter(|line| line.contains(KEY)).collect();
            assert_eq!(carries_the_key, [key]);
        }
    }
}

#[test]
fn an_answer_of_v2_is_read_with_its_headers() {
    let body = r#"{"available":true,"created":null,"allocation":{"prefix":"2001:db8::1/48","nextHop":null}}"#;
    let headers = "date: Mon, 23 Nov 2026 02:15:00 GMT\r\nx-request-id: r7\r\nx-ratelimit-remaining: 3\r\n";
    let (address, server) = answering(vec![answer(201, headers, body)]);
    let attempt = wait(api(Dialect::V2, &format!("http://{address}")).call(&VPS.into(), Action::Allocate));
    server.join().unwrap();
    assert_eq!((attempt.status, attempt.request_id.as_deref()), (Some(201), Some("r7")));
    assert_eq!(attempt.server_time(), "2026-11-23T02:15:00Z".parse().ok());
    assert_eq!(attempt.announced.remaining, Some(3));
    let answer = attempt.result.unwrap().answer();
    assert_eq!((answer.created, answer.allocation.next_hop), (true, None));
}

#[test]
fn the_key_is_in_nothing_that_comes_back_in_either_dialect() {
    let problem = format!(r#"{{"detail":"no such key: Bearer {KEY}","code":"unauthorized","status":401}}"#);
    for (dialect, id) in [(Dialect::V1, "10000"), (Dialect::V2, VPS)] {
        let headers = "content-type: application/problem+json\r\n";
        let (address, server) = answering(vec![answer(401, headers, &problem)]);
        let attempt = wait(api(dialect, &format!("http://{address}")).call(&id.into(), Action::Allocate));
        server.join().unwrap();
        assert_eq!(attempt.result.unwrap_err().message, "no such key: Bearer ***");
    }
}

fn sandbox(settings: Settings) -> Running {
    Sandbox::start(settings, World::built_in()).unwrap()
}

/// What the sandbox's world calls that VM of v1.
fn vps(vmid: u64) -> VmId {
    VmId::from(&*format!("vps_01hxa3b{vmid:019}"))
}

#[test]
fn the_sandboxs_v2_allocates_once_and_refreshes() {
    let sandbox = sandbox(Settings::default());
    let api = api(Dialect::V2, &sandbox.base_url());
    wait(async {
        let answer = async |vmid, action| api.call(&vps(vmid), action).await.result.unwrap().answer();
        let made = answer(10_000, Action::Allocate).await;
        let again = answer(10_000, Action::Allocate).await;
        assert_eq!((made.created, again.created), (true, false));
        assert_eq!((made.warnings, again.warnings.len()), (vec![], 0));
        assert_eq!(again.allocation.changes_since(&made.allocation), []);
        assert_eq!(made.allocation.id.as_deref(), Some("ripv6_01hxa3b0000000000000010000"));
        assert_eq!(made.allocation.rack_id, None);
        let moved = answer(10_026, Action::RefreshNextHop).await;
        assert_eq!(moved.allocation.next_hop, "2001:db8:2000::2".parse().ok());
    });
}

#[test]
fn what_the_sandboxs_v2_leaves_unknown_is_unknown() {
    let all = ["id", "prefixLength", "nextHop", "status", "allocatedAt", "createdAt", "updatedAt"];
    let all = all.map(|field| format!("allocation.{field}"));
    let others = ["reason", "parentCidr", "prefixLength", "suggestedNextHop", "created"].map(str::to_owned);
    let nulls = all.iter().chain(&others).map(|field| field.parse().unwrap()).collect();
    let sandbox = sandbox(Settings { nulls, ..Settings::default() });
    let api = api(Dialect::V2, &sandbox.base_url());
    let answer = wait(api.call(&vps(10_000), Action::Allocate)).result.unwrap().answer();
    let Allocation { id, next_hop, status, allocated_at, updated_at, .. } = answer.allocation;
    assert_eq!((id, next_hop, status, allocated_at, updated_at), (None, None, None, None, None));
    assert_eq!(answer.warnings, ["created is unknown, and taken from the status, 201"]);
    assert!(answer.created);
}

#[test]
fn the_sandboxs_v2_refuses_a_key_without_the_scope_and_a_vm_without_ipv6_in_its_own_words() {
    let key: Vec<_> = vec![format!("{KEY} read:vm").parse().unwrap()];
    let reading = sandbox(Settings { keys: Keys::Only(key), ..Settings::default() });
    let fault =
        wait(api(Dialect::V2, &reading.base_url()).call(&vps(10_000), Action::Allocate)).result.unwrap_err();
    assert_eq!((fault.failure, fault.meaning), (Failure::Forbidden, Meaning::Final));
    assert!(!fault.may_have_applied && !fault.message.is_empty());

    let world = World::read("inventories/world.toml".as_ref()).unwrap();
    let strict = Sandbox::start(Settings::default(), world).unwrap();
    let api = api(Dialect::V2, &strict.base_url());
    let fault = |vmid| wait(api.call(&vps(vmid), Action::Allocate)).result.unwrap_err();
    let unavailable = fault(10_006);
    assert_eq!(unavailable.failure, Failure::RefusedByApi);
    assert_eq!(unavailable.message, "no allocation: Assign IPv6 to the net0 interface first");
    assert_eq!(fault(10_008).meaning, Meaning::NotReady);
    assert_eq!(fault(99_999).meaning, Meaning::NotFound);
}

#[test]
fn a_look_is_a_get_without_a_body_and_never_may_have_applied() {
    for (answered, failure) in [
        (answer(500, "", "{}"), Failure::ServerError),
        (answer(409, "", r#"{"code":"upstream_failed"}"#), Failure::Conflict),
        (answer(200, "", "<html>"), Failure::MalformedAnswer),
        ("HTTP/1.1 200 -\r\ncontent-length: 9\r\n\r\n{".into(), Failure::MalformedAnswer),
        (String::new(), Failure::MalformedAnswer),
    ] {
        let (address, server) = answering(vec![answered]);
        let api = api(Dialect::V2, &format!("http://{address}"));
        let fault = wait(api.look(&VPS.into())).result.unwrap_err();
        assert_eq!((fault.failure, fault.may_have_applied), (failure, false), "{}", fault.message);
        let request = server.join().unwrap().remove(0);
        assert!(
            request.starts_with("get /api/v2/vps/vps_01hxa3b4c5d6e7f8g9h0j1k2m3/routed-ipv6 http/1.1\r\n")
        );
        assert!(request.ends_with("\r\n\r\n"), "{request}");
    }
}

#[test]
fn a_look_that_is_not_answered_in_time_has_timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let api = Api { timeout: Duration::from_millis(50), ..api(Dialect::V2, &base_url) };
    let fault = wait(api.look(&VPS.into())).result.unwrap_err();
    assert_eq!((fault.failure, fault.meaning), (Failure::Timeout, Meaning::Transient));
    assert!(!fault.may_have_applied);
}

#[test]
fn looks_at_the_sandbox_tell_what_its_calls_have_done() {
    let key: Vec<_> = ["looker read:vm", KEY].map(|key| key.parse().unwrap()).into();
    let sandbox = sandbox(Settings { keys: Keys::Only(key), ..Settings::default() });
    let api = api(Dialect::V2, &sandbox.base_url());
    wait(async {
        let look = async |vmid, action| api.look(&vps(vmid)).await.result.unwrap().look().done(action);
        for (vmid, action) in [(10_000, Action::Allocate), (10_026, Action::RefreshNextHop)] {
            assert!(look(vmid, action).await.is_none(), "{action}");
            let called = api.call(&vps(vmid), action).await.result.unwrap().answer();
            let seen = look(vmid, action).await.unwrap();
            assert_eq!((seen.created, seen.allocation.changes_since(&called.allocation)), (false, vec![]));
        }
        assert!(look(10_026, Action::Allocate).await.is_some());
    });
}
