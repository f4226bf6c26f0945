//! HTTP/2 over TLS, as what stands before an API speaks it: connections and streams that end in every way.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fixture::{Fixture, Outcome};
use crate::fleet;
use crate::sandbox::{Sandbox, Transport};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// A sandbox that speaks HTTP/2, and a fleet of so many VMs.
fn sandbox(args: &[&str], vms: usize) -> (Sandbox, Fixture) {
    let sandbox = Sandbox::speaking(Transport::Http2, args);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(vms));
    (sandbox, fixture)
}

#[test]
fn over_tls_a_run_speaks_http_2_and_comes_to_the_same_end() {
    let (sandbox, fixture) = sandbox(&[], 60);
    let plain = Sandbox::start(&[]);
    let in_plain = Fixture::at(&plain);
    in_plain.write("fleet.csv", fleet::csv(60));
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
}

fn rows_by<'a>(outcome: &'a Outcome, name: &str, word: &str) -> Vec<&'a Value> {
    outcome.rows().iter().filter(|row| row[name] == word).collect()
}

#[test]
fn a_call_that_was_refused_unseen_was_never_sent_and_is_made_again_at_once() {
    for fault in ["refused-stream", "goaway"] {
        let (sandbox, fixture) = sandbox(&["--latency", "5ms", "--fault", &format!("{fault}=10%")], 200);
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
        let again = fixture.run(&RUN).exits(0);
        assert!(rows_by(&again, "basis", "lost_answer").is_empty(), "{fault}: nothing was lost");
        assert!(!again.stderr.contains("leaving the API alone"), "{}", again.stderr);
    }
}

#[test]
fn a_stream_or_a_connection_that_is_cut_after_the_effect_may_have_acted() {
    for fault in ["stream-reset-after", "reset-after", "truncated"] {
        let (sandbox, fixture) = sandbox(&["--latency", "5ms", "--fault", &format!("{fault}=3%")], 200);
        let outcome = fixture.run(&[&RUN[..], &["--max-attempts", "9"]].concat()).exits(0);
        assert_true(&outcome, &sandbox);
        assert!(!rows_by(&outcome, "basis", "lost_answer").is_empty(), "{fault}: some answers were lost");
    }
}

#[test]
fn a_connection_that_goes_silent_is_left_for_another_and_what_was_lost_on_it_is_told() {
    for fault in ["silent-after", "silent-before"] {
        let (sandbox, fixture) = sandbox(&["--latency", "5ms", "--fault", &format!("{fault}=1%")], 200);
        let more = ["--timeout", "4s", "--max-wait", "1m", "--max-attempts", "9"];
        let outcome = fixture.run(&[&RUN[..], &more].concat()).exits(0);
        assert_true(&outcome, &sandbox);
        let silences = sandbox.calls().iter().filter(|call| call.fault.as_deref() == Some(fault)).count();
        assert!(silences > 0, "{fault}: no connection went silent");
        let lost = sandbox.calls().iter().any(|call| call.created && !call.answered);
        assert_eq!(!rows_by(&outcome, "basis", "lost_answer").is_empty(), lost, "{fault}");
    }
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

/// Of this share of the connections; every call that goes through closes its connection.
fn with_tls_fault(fault: &str, share: &str) -> (Sandbox, Fixture) {
    sandbox(&["--tls-fault", &format!("{fault}={share}"), "--fault", "reset-before=20%"], 24)
}

#[test]
fn a_handshake_that_fails_for_another_reason_than_a_certificate_is_tried_again() {
    for fault in ["handshake-cut", "alert", "plain-http"] {
        let (sandbox, fixture) = with_tls_fault(fault, "30%");
        let outcome =
            fixture.run(&[&RUN[..], &["--max-attempts", "20", "--concurrency", "4"]].concat()).exits(0);
        assert_true(&outcome, &sandbox);
        let (_sandbox, fixture) = with_tls_fault(fault, "100%");
        let outcome = fixture.run(&[&RUN[..], &["--max-attempts", "1", "--limit", "3"]].concat()).exits(3);
        for row in outcome.rows() {
            assert_eq!(
                (&row["failure"], &row["may_have_applied"]),
                (&"connect".into(), &false.into()),
                "{row}"
            );
        }
        let error = outcome.rows()[0]["error"].as_str().unwrap();
        assert!(fault != "plain-http" || error == "there is no TLS at this port", "{error}");
    }
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
