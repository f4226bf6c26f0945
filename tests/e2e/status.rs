//! `v6fleet status`: how the run stands that is under way, told by the lock and by itself, or how one ended.

use serde_json::Value;

use crate::fixture::{Fixture, binary, eventually};
use crate::fleet;
use crate::postgres::Server;
use crate::sandbox::Sandbox;
use crate::script::{Api, error, success};

const RUN: [&str; 5] = ["run", "fleet.csv", "--action", "allocate", "--resume"];

fn status(fixture: &Fixture, more: &[&str]) -> Value {
    let told = fixture.run(&[&["status", "--format", "json"], more].concat()).exits(0).stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["schema"], "v6fleet.status/1");
    told
}

/// The status, once it is so.
fn awaited(fixture: &Fixture, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut told = Value::Null;
    eventually(what, || {
        // At first there is no ledger, and then no run in it.
        let found = fixture.run(&["status", "--format", "json"]);
        told = serde_json::from_str(&found.stdout).unwrap_or_default();
        is_so(&told)
    });
    told
}

#[test]
fn a_run_tells_how_it_stands_while_it_is_under_way_and_how_it_ended_afterwards() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(400));
    fixture.run(&["status"]).exits(2).assert_in_stderr("there is no ledger yet");
    let run = fixture.start(&[&RUN[..], &["--rate", "50/s"]].concat());
    sandbox.await_calls(1);
    let on = awaited(&fixture, "VMs are settled", |told| told["settled"].as_u64() > Some(0));
    assert_eq!((&on["run"]["running"], &on["run"]["selected"]), (&true.into(), &400.into()));
    assert!(on["workers"][0]["name"].as_str().unwrap().starts_with(&format!("pid {} on ", run.id())), "{on}");
    assert_eq!((&on["pace"]["per_second"], &on["pace"]["whose"]), (&50.0.into(), &"typed".into()));
    assert_eq!(on["settled"].as_u64().unwrap() + on["pending"].as_u64().unwrap(), 400);
    let counted = ["created", "unchanged", "updated", "failed"].map(|name| on["run"][name].as_u64().unwrap());
    assert_eq!(counted.iter().sum::<u64>(), on["settled"].as_u64().unwrap());
    assert!(on["calls"].as_u64() >= on["settled"].as_u64(), "{on}");
    assert_eq!(on["open_breakers"]["api"], false);
    let late = awaited(&fixture, "there was time to see a rate", |told| told["left_s"].is_number());
    assert!(late["calls_per_s"].is_number() && late["calls_per_s_over_all"].is_number(), "{late}");

    let text = fixture.run(&["status"]).exits(0).stdout;
    for part in [
        ": allocate fleet.csv, http://127.0.0.1:",
        "\n  running by pid ",
        " of 400 VMs: ",
        " in flight",
        "\n  pace: 50.0/s, typed",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    run.signal("INT");
    run.end().exits(130);
    let stopped = status(&fixture, &[]);
    assert_eq!(
        (&stopped["run"]["stopped_by"], &stopped["run"]["running"]),
        (&"interrupted".into(), &false.into())
    );
    assert!(stopped["pending"].as_u64() > Some(0) && stopped["workers"] == Value::Array(vec![]), "{stopped}");
    assert!(stopped["pace"].is_null(), "what it told of itself is over with it");
    let id = stopped["run"]["id"].as_str().unwrap();
    let text = fixture.run(&["status", &id[..13]]).exits(0).stdout;
    assert!(
        text.contains("\n  stopped: interrupted, at ")
            && text.ends_with(&format!("\n  exit code 130; v6fleet resume {id}\n")),
        "{text}"
    );

    fixture.run(&["resume", "--rate", "none"]).exits(0);
    let ended = status(&fixture, &[id]);
    assert_eq!(
        (&ended["run"]["complete"], &ended["settled"], &ended["run"]["exit_code"]),
        (&true.into(), &400.into(), &0.into())
    );
    fixture.run(&["status", "1999"]).exits(2).assert_in_stderr("no run \"1999\"");
    fixture.run(&["status", "--watch"]).exits(2).assert_in_stderr("--watch is for a terminal");
    let typed = fixture.run(&["status", "--watch", "--format", "json"]).exits(2);
    typed.assert_in_stderr("--watch shows text, and --format cannot be used with it");
}

#[test]
fn who_watches_on_a_terminal_is_shown_it_anew_until_the_run_has_ended() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(400));
    let run = fixture.start(&[&RUN[..], &["--rate", "50/s"]].concat());
    awaited(&fixture, "VMs are settled", |told| told["settled"].as_u64() > Some(0));
    let mut terminal = fixture.beside("script");
    terminal.args(["-qec", &format!("{} status --watch", binary().display()), "/dev/null"]);
    terminal.env("V6FLEET_FORMAT", "json");
    let watch = fixture.spawn(terminal);
    let screens = |shown: &str| shown.split("\u{1b}[H\u{1b}[J").map(str::to_owned).collect::<Vec<_>>();
    eventually("it is shown a second time", || screens(&watch.stdout()).len() > 2);
    run.signal("TERM");
    run.end().exits(143);
    let screens = screens(&watch.end().exits(0).stdout);
    let (last, before) = screens.split_last().unwrap();
    assert!(before[1..].iter().all(|screen| screen.contains("\n  running by pid ")), "{screens:?}");
    assert!(last.contains("\n  stopped: terminated, at "), "{last}");
}

#[test]
fn a_run_that_has_died_is_not_told_as_one_that_goes_on() {
    let sandbox = Sandbox::start(&["--latency", "50ms"]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(400));
    let run = fixture.start(&[&RUN[..], &["--rate", "none", "--concurrency", "2"]].concat());
    awaited(&fixture, "VMs are settled", |told| told["settled"].as_u64() > Some(0));
    run.kill();
    let died = status(&fixture, &[]);
    assert_eq!((&died["run"]["running"], &died["run"]["complete"]), (&false.into(), &false.into()));
    assert!(died["settled"].as_u64() > Some(0) && died["pace"].is_null(), "{died}");
    let text = fixture.run(&["status"]).exits(0).stdout;
    assert!(text.contains("\n  not finished; ") && text.contains("\n  v6fleet resume "), "{text}");
}

#[test]
fn a_pause_that_the_api_asked_for_and_what_is_left_alone_are_told() {
    let api = Api::start(|vmid, _| match vmid {
        "10000" => error(429, "RATE_LIMITED").header("retry-after", "600").into(),
        _ => success(200, false, 1_000).into(),
    });
    let fixture = api.fixture();
    fixture.write_fleet("vmid\n10000\n10001\n");
    let run = fixture.start(&RUN);
    let paused =
        awaited(&fixture, "the API has asked for a pause", |told| told["pace"]["paused_until"].is_string());
    assert!(paused["hindrance"].as_str().unwrap().starts_with("paused "), "{paused}");
    let text = fixture.run(&["status"]).exits(0).stdout;
    assert!(
        text.contains("\n  pace: paused for 9 min ") && text.contains(" more, as the API asked; then "),
        "{text}"
    );
    drop(run);

    let sick = Api::start(|vmid, _| match vmid.starts_with('2') {
        true => error(500, "INTERNAL").into(),
        false => success(200, false, 1_000).into(),
    });
    let fixture = sick.fixture();
    let rows = (0..40).map(|no| format!("{},dc1r27\n{},dc1r28\n", 20_000 + no, 30_000 + no));
    fixture.write_fleet("vmid,rack_id\n".to_owned() + &rows.collect::<String>());
    let _run = fixture.start(&[&RUN[..], &["--rate", "none", "--canary", "0"]].concat());
    awaited(&fixture, "a rack is left alone", |told| told["open_breakers"]["racks"][0] == "dc1r27");
    fixture.run(&["status"]).exits(0).assert_in_stdout("left alone, but for single probes: rack dc1r27\n");
}

#[test]
fn of_a_run_in_a_database_each_worker_is_told_with_what_it_does() {
    let Some(server) = Server::start() else { return };
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let fixture = Fixture::at(&sandbox).in_database(server);
    fixture.write("fleet.csv", fleet::csv(1_000));
    let run = fixture.start(&[&RUN[..], &["--rate", "50/s"]].concat());
    awaited(&fixture, "VMs are settled", |told| told["settled"].as_u64() > Some(0));
    let other = fixture.start(&["work", "--output-dir", "none"]);
    let has_told = |worker: &Value| worker["calls_per_s"].is_number();
    let on = awaited(&fixture, "both tell of themselves", |told| {
        told["workers"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(has_told))
    });
    let names = [0, 1].map(|nth| on["workers"][nth]["name"].as_str().unwrap().to_owned());
    for (name, process) in names.iter().zip([&run, &other]) {
        assert!(name.starts_with(&format!("pid {} on ", process.id())), "{on}");
    }
    assert_eq!((&on["run"]["running"], &on["pace"]["per_second"]), (&Value::from(true), &Value::from(50.0)));
    let told = fixture.run(&["status"]).exits(0);
    told.assert_in_stdout("  running by 2 workers; begun at ");
    told.assert_in_stdout(&format!("\n  {}: ", names[1]));
    other.signal("TERM");
    other.end().exits(143);
    run.signal("TERM");
    run.end().exits(143);
    assert_eq!(status(&fixture, &[])["run"]["stopped_by"], "terminated");
}
