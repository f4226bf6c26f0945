//! Clocks that are wrong, slow to be read, or set in mid-run: the server's, the edge's and our own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::dialect::{Dialect, in_each};
use crate::faketime;
use crate::fixture::{Fixture, Outcome};
use crate::sandbox::Sandbox;
use crate::script::{Answer, Api, Speech, Step, answer, html, http_date, json_answer};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];
const HOUR: i64 = 3_600;
/// So old that no attempt of a test can have made it, and younger than any step of a clock.
const OLD: i64 = 600;

fn fixture(api: &Api, vms: &[&str]) -> Fixture {
    let fixture = api.fixture();
    fixture.write_fleet(format!("vmid\n{}\n", vms.join("\n")));
    fixture
}

/// `vmid outcome basis` of every VM that is not as `expected` says by its vmid's first digit.
#[track_caller]
fn assert_verdicts(outcome: &Outcome, expected: &[(char, &str)]) {
    for verdict in outcome.verdicts() {
        let (vmid, said) = verdict.split_once(' ').unwrap();
        let expected = expected.iter().find(|(digit, _)| vmid.starts_with(*digit)).unwrap().1;
        assert_eq!(said, expected, "{vmid} of {:?}", outcome.verdicts());
    }
}

/// A moment as a dialect has it in an allocation.
fn written(dialect: Dialect, at: Timestamp) -> String {
    match dialect {
        Dialect::V1 => at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string(),
        Dialect::V2 => at.to_string(),
    }
}

/// What says `created: false` for an allocation made and updated at these moments.
fn state(dialect: Dialect, made: Timestamp, updated: Timestamp) -> Value {
    let mut body = dialect.success_body(false, OLD);
    let allocation = dialect.allocation(&mut body);
    for name in ["allocated_at", "created_at"] {
        allocation[dialect.field(name)] = json!(written(dialect, made));
    }
    allocation[dialect.field("updated_at")] = json!(written(dialect, updated));
    if dialect == Dialect::V1 {
        allocation["metadata"]["updatedAt"] = json!(updated.to_string());
    }
    body
}

/// The same from a server whose clock shows `now`, as the dialect tells that.
fn found(dialect: Dialect, now: Timestamp, made: Timestamp, updated: Timestamp) -> Answer {
    let mut body = state(dialect, made, updated);
    match dialect {
        Dialect::V1 => {
            body["timestamp"] = json!(now.to_string());
            json_answer(200, &body)
        }
        Dialect::V2 => json_answer(200, &body).header("date", http_date(now)),
    }
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// What was made when, by VM.
type Made = Mutex<Vec<(String, Timestamp)>>;

/// What the calls for a VM do, by its id's first digit: 1 makes its allocation and is cut once, 2 updates it, 3 does
/// nothing. `clock` is what the server's shows, in seconds ahead of ours.
fn acts(api: Dialect, vmid: &str, nth: usize, made: &Made, clock: i64, slow: Duration) -> Step {
    let now = Timestamp::now() + seconds(clock);
    let old = now - seconds(OLD);
    if vmid.starts_with('1') && nth == 0 {
        made.lock().unwrap().push((vmid.to_owned(), now));
        return Step::Cut(vec![]);
    }
    let (then, answered) = (old, now + slow);
    let answer = match &vmid[..1] {
        "1" => {
            let made = made.lock().unwrap().iter().find(|(made, _)| made == vmid).map_or(old, |(_, at)| *at);
            found(api, answered, made, made)
        }
        "2" => found(api, answered, then, now),
        _ => found(api, answered, then, then),
    };
    answer.after(slow).into()
}

const TRUTH: [(char, &str); 3] =
    [('1', "created lost_answer"), ('2', "updated server_clock"), ('3', "unchanged server_clock")];

#[test]
fn what_slow_answers_tell_is_dated_by_what_they_leave_possible() {
    in_each(|dialect| {
        let made = Mutex::default();
        let slow = Duration::from_secs(6);
        let api = Api::of(dialect, move |vmid, nth| acts(dialect, vmid, nth, &made, 0, slow));
        let vms = ["10", "11", "12", "13", "14", "20", "21", "22", "30", "31"];
        let outcome = fixture(&api, &vms).run(&RUN).exits(0);
        assert_verdicts(&outcome, &TRUTH);
    });
}

/// An answer whose `Date` is an hour old.
fn dated_an_hour_ago(answer: Answer) -> Answer {
    let hour_ago = Timestamp::now() - seconds(HOUR);
    answer.header("date", http_date(hour_ago))
}

#[test]
fn one_wrong_time_says_nothing_of_other_vms() {
    in_each(tell_one_wrong_time);
}

fn tell_one_wrong_time(dialect: Dialect) {
    let wrong: [fn(Dialect) -> Answer; 4] = [
        |_| {
            let hour_ago = (Timestamp::now() - seconds(HOUR)).to_string();
            json_answer(404, &json!({"error": "Not Found", "code": "NOT_FOUND", "timestamp": hour_ago}))
        },
        |_| dated_an_hour_ago(html(404)).header("age", "3600"),
        |_| dated_an_hour_ago(html(404)),
        |api| dated_an_hour_ago(api.error(404, "NOT_FOUND")),
    ];
    for wrong in wrong {
        let made = Mutex::default();
        let api = Api::of(dialect, move |vmid, nth| match &vmid[..1] {
            "9" => wrong(dialect).into(),
            _ => acts(dialect, vmid, nth, &made, 0, Duration::from_millis(20)),
        });
        let vms = ["90", "91", "10", "20", "21", "30", "31", "32"];
        let outcome = fixture(&api, &vms).run(&[&RUN[..], &["--concurrency", "1"]].concat()).exits(3);
        assert_verdicts(&outcome, &[&TRUTH[..], &[('9', "failed not_found")]].concat());
    }
}

#[test]
fn an_answer_without_any_time_is_read_by_the_others() {
    in_each(leave_out_the_time);
}

/// Without a time of its own.
fn silent(dialect: Dialect, ahead: i64, updated: i64) -> Answer {
    let now = Timestamp::now() + seconds(ahead);
    let mut body = state(dialect, now - seconds(OLD), now - seconds(updated));
    if dialect == Dialect::V1 {
        body.as_object_mut().unwrap().remove("timestamp");
        let allocation = dialect.allocation(&mut body);
        allocation["metadata"]["updatedAt"] = json!((now - seconds(OLD)).to_string());
    }
    json_answer(200, &body)
}

fn leave_out_the_time(dialect: Dialect) {
    for ahead in [0, -5 * HOUR] {
        let api = Api::of(dialect, move |vmid, nth| match &vmid[..1] {
            "9" => answer(404, "application/json", json!({"timestamp": "1999-01-01T00:00:00Z"}).to_string())
                .into(),
            "4" => silent(dialect, ahead, 0).into(),
            "5" => silent(dialect, ahead, 60).into(),
            _ => acts(dialect, vmid, nth, &Mutex::default(), ahead, Duration::ZERO),
        });
        let vms = ["90", "30", "31", "91", "40", "41", "50", "51"];
        let outcome = fixture(&api, &vms).run(&[&RUN[..], &["--concurrency", "1"]].concat()).exits(3);
        let others =
            [('4', "updated server_clock"), ('5', "unchanged server_clock"), ('9', "failed not_found")];
        assert_verdicts(&outcome, &[&TRUTH[..], &others].concat());
    }
}

#[test]
fn a_servers_clock_that_is_set_in_mid_run_hides_and_invents_nothing() {
    in_each(set_the_servers_clock);
}

fn set_the_servers_clock(dialect: Dialect) {
    for step in [-5, 5, -HOUR, HOUR] {
        let made = Mutex::default();
        let calls = AtomicI64::new(0);
        let api = Api::of(dialect, move |vmid, nth| {
            let clock = if calls.fetch_add(1, Ordering::Relaxed) < 9 { 0 } else { step };
            acts(dialect, vmid, nth, &made, clock, Duration::ZERO)
        });
        // The answers of 10 and 11 are lost before the step, and they are called again after it.
        let vms = ["30", "31", "32", "20", "10", "11", "33", "34", "35", "36", "21", "12", "22", "13", "37"];
        let outcome = fixture(&api, &vms).run(&[&RUN[..], &["--concurrency", "1"]].concat()).exits(0);
        assert_verdicts(&outcome, &TRUTH);
    }
}

#[test]
fn our_time_of_day_set_in_mid_run_changes_no_verdict_and_no_duration() {
    in_each(set_our_time_of_day);
}

fn set_our_time_of_day(dialect: Dialect) {
    for step in [-300, HOUR, -HOUR] {
        let made = Mutex::default();
        let quick = Duration::from_millis(50);
        let api = Api::of(dialect, move |vmid, nth| acts(dialect, vmid, nth, &made, 0, quick));
        let mut fixture =
            fixture(&api, &["10", "20", "30", "11", "12", "13", "21", "14", "22", "15", "31", "23"]);
        if !faketime::can_set_the_time(&mut fixture) {
            return;
        }
        let begun = Instant::now();
        let process = fixture.start(&[&RUN[..], &["--concurrency", "1"]].concat());
        crate::fixture::eventually("some calls are answered", || api.received().len() > 4);
        faketime::set(&fixture, step);
        crate::fixture::eventually("and some more", || api.received().len() > 8);
        faketime::set(&fixture, 0);
        let outcome = process.end().exits(0);
        assert_verdicts(&outcome, &TRUTH);
        let took = outcome.summary()["duration_s"].as_f64().unwrap();
        assert!((0.3..begun.elapsed().as_secs_f64()).contains(&took), "{took} s");
        for row in outcome.rows() {
            let at = |name: &str| row[name].as_str().unwrap().parse::<Timestamp>().unwrap();
            let took = at("settled_at").duration_since(at("first_sent_at"));
            assert!((seconds(0)..seconds(60)).contains(&took), "{row}");
        }
    }
}

#[test]
fn our_time_of_day_put_right_between_two_runs_hides_no_lost_answer() {
    in_each(put_our_time_of_day_right);
}

fn put_our_time_of_day_right(dialect: Dialect) {
    for behind in [-5 * HOUR, 5 * HOUR] {
        let made = Mutex::default();
        let api = Api::of(dialect, move |vmid, nth| acts(dialect, vmid, nth, &made, 0, Duration::ZERO));
        let mut fixture = fixture(&api, &["10", "11", "12", "13", "20", "30"]);
        if !faketime::can_set_the_time(&mut fixture) {
            return;
        }
        faketime::set(&fixture, behind);
        let first = fixture.run(&[&RUN[..], &["--max-attempts", "1"]].concat()).exits(3);
        assert_eq!(first.vms_that_are("failed"), ["10", "11", "12", "13"]);
        faketime::set(&fixture, 0);
        let second = fixture.run(&RUN).exits(0);
        let truth = [TRUTH[0], ('2', "unchanged ledger"), ('3', "unchanged ledger")];
        assert_verdicts(&second, &truth);
    }
}

#[test]
fn a_run_that_died_under_a_wrong_time_of_day_and_is_resumed_under_the_right_one_tells_the_truth() {
    in_each(die_under_a_wrong_time_of_day);
}

fn die_under_a_wrong_time_of_day(dialect: Dialect) {
    for behind in [-5 * HOUR, 5 * HOUR] {
        let (made, updated) = (Mutex::default(), Mutex::new(None));
        let api = Api::of(dialect, move |vmid, nth| match (&vmid[..1], nth) {
            ("1" | "2", 0) => {
                acts(dialect, vmid, 0, &made, 0, Duration::ZERO);
                updated.lock().unwrap().get_or_insert(Timestamp::now());
                Step::Stall(vec![])
            }
            ("2", _) => {
                let now = Timestamp::now();
                found(dialect, now, now - seconds(OLD), updated.lock().unwrap().unwrap()).into()
            }
            _ => acts(dialect, vmid, nth, &made, 0, Duration::ZERO),
        });
        let mut fixture = fixture(&api, &["10", "20", "30"]);
        if !faketime::can_set_the_time(&mut fixture) {
            return;
        }
        faketime::set(&fixture, behind);
        let process = fixture.start(&RUN);
        crate::fixture::eventually("all are called", || api.received().len() == 3);
        process.kill();
        faketime::set(&fixture, 0);
        assert_verdicts(&fixture.resume(&[]).exits(0), &TRUTH);
    }
}

#[test]
fn a_servers_clock_that_is_set_between_two_runs_hides_no_lost_answer() {
    in_each(set_the_servers_clock_between_runs);
}

fn set_the_servers_clock_between_runs(dialect: Dialect) {
    for step in ["-1h", "1h", "-5s"] {
        let sandbox = Sandbox::start(&["--clock", "-5h", "--rack-fault", "dc1r27=reset-after"]);
        let fixture = Fixture::at(&sandbox).speaking(dialect);
        fixture.write_fleet("vmid\n10020\n10021\n10022\n10000\n10006\n");
        let run = [&RUN[..], &["--max-attempts", "1", "--concurrency", "1"]].concat();
        assert_eq!(fixture.run(&run).exits(3).vms_that_are("failed"), ["10000", "10006"]);
        sandbox.set_fault("dc1r27", None);
        sandbox.step_clock(step);
        let verdicts = fixture.run(&run).exits(0).verdicts();
        assert_eq!(verdicts[3..], ["10000 created lost_answer", "10006 unchanged server_clock"], "{step}");
    }
}
