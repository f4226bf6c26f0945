//! HTTP/2 over TLS, as what stands before an API speaks it: connections and streams that end in every way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::dialect::{Dialect, in_each};
use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::sandbox::{Sandbox, Transport, asked_twice};
use crate::script::{Api, Speech, Step, success};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// A sandbox that speaks HTTP/2, and a fleet of so many VMs.
fn sandbox(args: &[&str], vms: usize) -> (Sandbox, Fixture) {
    sandbox_of(Dialect::V1, args, vms)
}

/// The same for a fleet of either dialect.
fn sandbox_of(dialect: Dialect, args: &[&str], vms: usize) -> (Sandbox, Fixture) {
    let sandbox = Sandbox::speaking(Transport::Http2, args);
    let fixture = Fixture::at(&sandbox).speaking(dialect);
    fixture.write_fleet(fleet::csv(vms));
    (sandbox, fixture)
}

#[test]
fn over_tls_a_run_speaks_http_2_and_comes_to_the_same_end() {
    in_each(compare_with_plain_http);
}

fn compare_with_plain_http(dialect: Dialect) {
    let (sandbox, fixture) = sandbox_of(dialect, &[], 60);
    let plain = Sandbox::start(&[]);
    let in_plain = Fixture::at(&plain).speaking(dialect);
    in_plain.write_fleet(fleet::csv(60));
    let (outcome, expected) = (fixture.run(&RUN).exits(0), in_plain.run(&RUN).exits(0));
    assert_eq!(outcome.verdicts(), expected.verdicts());
    assert!(sandbox.calls().iter().all(|call| call.http == "2"));
    assert!(plain.calls().iter().all(|call| call.http == "1"));
}

/// Every row is what the sandbox's record says: made calls are `created`, and nothing else is.
fn assert_true(outcome: &Outcome, sandbox: &Sandbox) {
    let calls = sandbox.calls();
    assert!(calls.iter().all(|call| call.http == "2"));
    let made: BTreeSet<&str> =
        calls.iter().filter(|call| call.created).map(|call| call.vmid.as_str()).collect();
    let told: BTreeSet<&str> = outcome.vms_that_are("created").into_iter().collect();
    assert_eq!(told, made);
    let in_v2 = calls.iter().filter(|call| call.dialect == "v2");
    assert!(asked_twice(in_v2).is_none(), "done already: {:?}", asked_twice(&calls));
}

fn rows_by<'a>(outcome: &'a Outcome, name: &str, word: &str) -> Vec<&'a Value> {
    outcome.rows().iter().filter(|row| row[name] == word).collect()
}

#[test]
fn a_call_that_was_refused_unseen_was_never_sent_and_is_made_again_at_once() {
    in_each(refuse_unseen);
}

fn refuse_unseen(dialect: Dialect) {
    for fault in ["refused-stream", "goaway"] {
        let fault_share = format!("{fault}=10%");
        let (sandbox, fixture) = sandbox_of(dialect, &["--latency", "5ms", "--fault", &fault_share], 120);
        let once = fixture.run(&[&RUN[..], &["--max-attempts", "1"]].concat()).exits(3);
        let failed = once.vms_that_are("failed");
        assert!((5..100).contains(&failed.len()), "{fault}: {} failed", failed.len());
        for row in rows_by(&once, "outcome", "failed") {
            assert_eq!(
                (&row["failure"], &row["may_have_applied"]),
                (&"connect".into(), &false.into()),
                "{row}"
            );
            assert!(row["error"].as_str().unwrap().starts_with("refused unseen: "), "{row}");
        }
        assert_true(&once, &sandbox);
        // One that goes away refuses all that are in flight: of many, it would look as if most calls failed.
        let again = fixture.run(&[&RUN[..], &["--concurrency", "2"]].concat()).exits(0);
        assert!(rows_by(&again, "basis", "lost_answer").is_empty(), "{fault}: nothing was lost");
        assert!(!again.stderr.contains("leaving the API alone"), "{}", again.stderr);
    }
}

#[test]
fn a_stream_or_a_connection_that_is_cut_after_the_effect_may_have_acted() {
    in_each(cut_after_the_effect);
}

fn cut_after_the_effect(dialect: Dialect) {
    for (fault, share) in [("stream-reset-after", "5%"), ("reset-after", "2%"), ("truncated", "5%")] {
        let fault_share = format!("{fault}={share}");
        let (sandbox, fixture) = sandbox_of(dialect, &["--latency", "5ms", "--fault", &fault_share], 150);
        let outcome = fixture.run(&[&RUN[..], &["--max-attempts", "9"]].concat()).exits(0);
        assert_true(&outcome, &sandbox);
        assert!(!rows_by(&outcome, "basis", "lost_answer").is_empty(), "{fault}: some answers were lost");
    }
}

#[test]
fn a_connection_that_goes_silent_is_left_for_another_and_what_was_lost_on_it_is_told() {
    in_each(|dialect| {
        std::thread::scope(|scope| {
            for fault in ["silent-after", "silent-before"] {
                scope.spawn(move || assert_left_for_another(dialect, fault));
            }
        });
    });
}

fn assert_left_for_another(dialect: Dialect, fault: &str) {
    let fault_share = format!("{fault}=3%");
    let (sandbox, fixture) = sandbox_of(dialect, &["--latency", "5ms", "--fault", &fault_share], 100);
    let more = ["--timeout", "3s", "--max-wait", "1m", "--max-attempts", "9", "--concurrency", "4"];
    let outcome = fixture.run(&[&RUN[..], &more].concat()).exits(0);
    assert_true(&outcome, &sandbox);
    let silences = sandbox.calls().iter().filter(|call| call.fault.as_deref() == Some(fault)).count();
    assert!(silences > 0, "{fault}: no connection went silent");
    let lost = sandbox.calls().iter().any(|call| call.created && !call.answered);
    assert_eq!(!rows_by(&outcome, "basis", "lost_answer").is_empty(), lost, "{fault}");
}

#[test]
fn calls_beyond_what_the_connection_takes_at_once_wait_and_are_neither_late_nor_lost() {
    let (sandbox, fixture) = sandbox(&["--max-streams", "2", "--latency", "400ms"], 32);
    // The last of 16 waits three seconds for its turn, which is more than the time for an answer.
    let outcome = fixture.run(&[&RUN[..], &["--timeout", "2s", "--concurrency", "16"]].concat()).exits(0);
    assert_true(&outcome, &sandbox);
    for row in outcome.rows() {
        assert!(row["latency_ms"].as_f64().unwrap() < 2_000.0, "{row}");
        assert_ne!(row["basis"], "lost_answer", "{row}");
    }
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 32, "each was served once");
    for row in outcome.rows() {
        let sent: Timestamp = row["first_sent_at"].as_str().unwrap().parse().unwrap();
        let call = calls.iter().find(|call| row["vmid"] == call.vmid.as_str()).unwrap();
        let apart = call.at.duration_since(sent).abs();
        // Before the server has said how many it takes, more may leave, and are refused unseen.
        assert!(row["attempts"] != 1 || apart < SignedDuration::from_millis(300), "{apart}: {row}");
    }
}

#[test]
fn a_call_that_was_given_up_while_it_waited_for_its_turn_never_leaves() {
    in_each(give_up_while_waiting);
}

fn give_up_while_waiting(dialect: Dialect) {
    let (sandbox, fixture) = sandbox_of(dialect, &["--max-streams", "1", "--fault", "hang-after=100%"], 6);
    let more = ["--timeout", "1s", "--concurrency", "4", "--max-attempts", "2", "--canary", "0"];
    let outcome = fixture.run(&[&RUN[..], &more].concat()).exits(3);
    let called: BTreeSet<String> = sandbox.called_vmids().into_iter().collect();
    for row in outcome.rows() {
        let was_called = called.contains(row["vmid"].as_str().unwrap());
        assert_eq!(row["may_have_applied"], was_called, "{row}");
        assert!(was_called || row["failure"] == "connect", "{row}");
    }
}

#[test]
fn where_a_connection_lives_and_answers_nothing_the_next_calls_take_another() {
    in_each(answer_nothing);
}

fn answer_nothing(dialect: Dialect) {
    let calls = AtomicUsize::new(0);
    let api =
        Api::speaking(dialect, Transport::Http2, move |_, _| match calls.fetch_add(1, Ordering::Relaxed) {
            ..4 => Step::Stall(vec![]),
            _ => dialect.success(200, false, 0).into(),
        });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n10001\n10002\n10003\n");
    let outcome = fixture.run(&[&RUN[..], &["--timeout", "2s", "--concurrency", "4"]].concat()).exits(0);
    assert_eq!(rows_by(&outcome, "basis", "lost_answer").len(), 4);
    let (silent, answered) = (&api.received()[..4], &api.received()[4..]);
    let connection = silent[0].connection;
    assert!(silent.iter().all(|call| call.connection == connection));
    assert!(!answered.is_empty() && answered.iter().all(|call| call.connection != connection));
}

#[test]
fn a_certificate_that_vouches_for_itself_is_taken_if_it_is_named_and_else_the_error_says_so() {
    let api = Api::speaking(Dialect::V1, Transport::Http2, |_, _| success(201, true, 0).into());
    let mut fixture = api.fixture();
    fixture.write("fleet.csv", "vmid\n10000\n");
    fixture.run(&RUN).exits(0);
    fixture.set("V6FLEET_BASE_URL", &api.base_url().replace("127.0.0.1", "localhost"));
    let error = |outcome: Outcome| outcome.exits(8).rows()[0]["error"].as_str().unwrap().to_owned();
    let other_name = error(fixture.run(&RUN));
    assert!(other_name.contains("not valid for name"), "{other_name}");
    fixture.set("V6FLEET_BASE_URL", &api.base_url());
    fixture.write("certificate.pem", another_certificate());
    let unnamed = error(fixture.run(&RUN));
    assert!(unnamed.contains("name it with --ca-file"), "{unnamed}");
}

fn another_certificate() -> String {
    let params = rcgen::CertificateParams::default();
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

/// Of this share of the connections; every call that goes through closes its connection.
fn with_tls_fault(fault: &str, share: &str) -> (Sandbox, Fixture) {
    sandbox(&["--tls-fault", &format!("{fault}={share}"), "--fault", "reset-before=20%"], 24)
}

#[test]
fn a_handshake_that_fails_for_another_reason_than_a_certificate_is_tried_again() {
    std::thread::scope(|scope| {
        for fault in ["handshake-cut", "alert", "plain-http"] {
            scope.spawn(move || assert_tried_again(fault));
        }
    });
}

fn assert_tried_again(fault: &str) {
    let (sandbox, fixture) = with_tls_fault(fault, "30%");
    let outcome = fixture.run(&[&RUN[..], &["--max-attempts", "20", "--concurrency", "4"]].concat()).exits(0);
    assert_true(&outcome, &sandbox);
    let (_sandbox, fixture) = with_tls_fault(fault, "100%");
    let outcome = fixture.run(&[&RUN[..], &["--max-attempts", "1", "--limit", "3"]].concat()).exits(3);
    for row in outcome.rows() {
        assert_eq!((&row["failure"], &row["may_have_applied"]), (&"connect".into(), &false.into()), "{row}");
    }
    let error = outcome.rows()[0]["error"].as_str().unwrap();
    assert!(fault != "plain-http" || error == "there is no TLS at this port", "{error}");
}

#[test]
fn a_certificate_that_does_not_hold_or_is_demanded_stops_the_run() {
    for fault in ["expired", "wrong-host", "client-certificate"] {
        let (sandbox, fixture) = with_tls_fault(fault, "100%");
        let outcome = fixture.run(&RUN).exits(8);
        assert_eq!(outcome.summary()["stopped_by"], "certificate_refused", "{fault}");
        let refused = rows_by(&outcome, "failure", "tls");
        assert!(!refused.is_empty(), "{fault}");
        for row in refused {
            assert_eq!(row["may_have_applied"], false, "{row}");
            let demanded = row["error"].as_str().unwrap().contains("demands a client certificate");
            assert_eq!(demanded, fault == "client-certificate", "{row}");
        }
        assert!(sandbox.calls().is_empty(), "{fault}: nothing was called");
    }
}
