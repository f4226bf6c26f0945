//! What webhooks are told: those of chat programs, which may be slow, broken or hostile, and whose address is a secret.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, iter};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Outcome};
use crate::script::{Answer, Api, Step, answer, error, html, success};

const MARKER: &str = "SECRET-MARKER-7f3a";

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// An API of which every VM is there already, but one that nobody knows.
fn api() -> Api {
    Api::start(|vmid, _| match vmid {
        "10099" => error(404, "vps_not_found").into(),
        _ => success(200, false, 100).into(),
    })
}

fn ok() -> Answer {
    answer(200, "text/plain", "ok")
}

fn chat(answer: impl Fn() -> Step + Send + Sync + 'static) -> Api {
    Api::start(move |_, _| answer())
}

/// Its webhooks are of these servers, one a line as the environment has them.
fn fixture(api: &Api, chats: &[&Api]) -> Fixture {
    let fixture = api.fixture();
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    fixture.write("bad.csv", "vmid\n<!channel>\n");
    fixture.write("unknown.csv", "vmid\n10000\n10099\n");
    let urls = chats.iter().map(|chat| format!("{}/hook/{MARKER}?key={MARKER}\n", chat.base_url()));
    fixture.env("V6FLEET_NOTIFY_URL", &urls.collect::<String>())
}

/// The events that a chat program was sent.
fn events(chat: &Api) -> Vec<Value> {
    let event = |request: crate::script::Received| {
        assert_eq!(request.request_line, format!("POST /hook/{MARKER}?key={MARKER} HTTP/1.1"));
        assert!(request.headers.contains(&("content-type".into(), "application/json".into())));
        assert!(request.headers.iter().all(|(name, value)| name != "x-api-key" && value != "a-key"));
        serde_json::from_slice(&request.body).unwrap()
    };
    chat.received().into_iter().map(event).collect()
}

fn id(outcome: &Outcome) -> Value {
    outcome.report()["run"]["id"].clone()
}

#[test]
fn webhooks_are_told_after_trouble_how_a_run_ended() {
    let (api, one, other) = (api(), chat(|| ok().into()), chat(|| ok().into()));
    let fixture = fixture(&api, &[&one, &other]);
    fixture.run(&RUN).exits(0);
    assert_eq!(one.received().len(), 0, "nothing went wrong");

    let failed = fixture.run(&["run", "unknown.csv", "--action", "allocate"]).exits(3);
    let [event] = &events(&one)[..] else { panic!("one event") };
    for (field, expected) in [
        ("event", json!("run ended")),
        ("run", id(&failed)),
        ("kind", json!("run")),
        ("base_url", json!(api.base_url())),
        ("selected", json!(2)),
        ("unchanged", json!(1)),
        ("failed", json!(1)),
        ("skipped", json!(0)),
        ("stopped_by", Value::Null),
        ("exit_code", json!(3)),
        ("host", json!(rustix::system::uname().nodename().to_str().unwrap())),
        ("resume", Value::Null),
        ("error", Value::Null),
    ] {
        assert_eq!(event[field], expected, "{field}");
    }
    let text = event["text"].as_str().unwrap();
    let first = "v6fleet: Complete: 2 VMs, 0 created, 1 unchanged, 0 updated, 1 failed\nRun ";
    assert!(text.starts_with(first) && text.ends_with("\nExit code 3"), "{text}");
    assert_eq!(events(&other), events(&one));

    fixture.write("unknown-first.csv", "vmid\n10099\n10000\n");
    let stopped =
        fixture.run(&["run", "unknown-first.csv", "--action", "allocate", "--canary", "1"]).exits(4);
    let event = &events(&one)[1];
    let resume = event["resume"].as_str().unwrap();
    assert_eq!(event["stopped_by"], "canary");
    assert!(resume.starts_with(&format!("v6fleet resume {}", id(&stopped).as_str().unwrap())), "{resume}");
    stopped.assert_in_stdout(&format!("Go on:        {resume}\n"));
    assert!(event["text"].as_str().unwrap().contains(&format!("\nGo on: {resume}\nHost: ")), "{event}");
}

#[test]
fn webhooks_are_told_of_a_run_that_was_not_begun_and_nothing_in_it_is_a_command_to_a_chat() {
    let (api, chat) = (api(), chat(|| ok().into()));
    let fixture = fixture(&api, &[&chat]);
    fixture.run(&["run", "bad.csv", "--action", "allocate"]).exits(2);
    fixture.run(&["resume"]).exits(7);
    fixture.run(&["run", "<!channel>.csv", "--action", "allocate"]).exits(2);
    let events = events(&chat);
    assert_eq!((&events[0]["exit_code"], &events[0]["run"]), (&json!(2), &Value::Null));
    assert!(events[0]["error"].as_str().unwrap().contains("bad.csv:2: vmid:"), "{}", events[0]);
    let text = events[0]["text"].as_str().unwrap();
    assert!(text.starts_with("v6fleet: A run was not begun: 1 invalid row; nothing was called"), "{text}");
    assert!(!text.contains("channel"), "what a row says is not for a chat: {text}");
    assert_eq!(events[1]["exit_code"], 7);
    let text = events[2]["text"].as_str().unwrap();
    assert!(text.contains("＜!channel＞") && !text.contains('<'), "{text}");
    assert_eq!(events.len(), 3);
}

#[test]
fn webhooks_are_told_the_counts_of_a_run_of_which_a_report_could_not_be_written() {
    let (api, chat) = (api(), chat(|| ok().into()));
    let fixture = fixture(&api, &[&chat]);
    std::os::unix::fs::symlink("/dev/full", fixture.path("full.jsonl")).unwrap();
    let run = fixture.run(&[&RUN[..], &["-o", "full.jsonl"]].concat()).exits(1);
    let [event] = &events(&chat)[..] else { panic!("one event") };
    assert_eq!((&event["run"], &event["unchanged"], &event["exit_code"]), (&id(&run), &json!(2), &json!(1)));
    assert!(event["error"].as_str().unwrap().starts_with("full.jsonl: cannot be written: "), "{event}");
    let text = event["text"].as_str().unwrap();
    assert!(
        text.starts_with("v6fleet: Complete: 2 VMs, ") && text.contains("\nThen: full.jsonl: "),
        "{text}"
    );
}

#[test]
fn a_webhook_that_fails_is_tried_once_more_and_changes_nothing_about_the_run() {
    let (api, elsewhere) = (api(), chat(|| ok().into()));
    let redirect = elsewhere.base_url();
    let shout = "\u{1b}]0;gone\u{7}".repeat(10_000);
    let chats = [
        chat(|| ok().after(Duration::from_millis(300)).into()),
        chat(|| html(500).into()),
        chat(move || answer(302, "text/plain", "").header("location", &redirect).into()),
        chat(|| Step::Cut(vec![])),
        chat(|| Step::Cut(b"HTTP/9.9 \x1b[2J\r\n\r\n".to_vec())),
        chat(move || answer(403, "text/html", shout.clone()).header("x-evil", "y".repeat(1_000)).into()),
    ];
    let fixture = fixture(&api, &chats.iter().collect::<Vec<_>>());
    let outcome = fixture.run(&[&RUN[..], &["--notify-on", "always"]].concat()).exits(0);
    let told: Vec<usize> = chats.iter().map(|chat| events(chat).len()).collect();
    assert_eq!((told, elsewhere.received().len()), (vec![1, 2, 2, 2, 2, 2], 0));
    let untold = "the webhook at 127.0.0.1 could not be told; the run is as it is";
    assert_eq!(outcome.stderr.matches(untold).count(), 5, "{}", outcome.stderr);
    assert!(!outcome.stderr.contains('\u{1b}') && !outcome.stderr.contains(MARKER), "{}", outcome.stderr);
}

#[test]
fn the_address_of_a_webhook_is_in_no_log_report_setting_or_ledger() {
    let (api, good, bad) = (api(), chat(|| ok().into()), chat(|| html(500).into()));
    let fixture = fixture(&api, &[&good, &bad]);
    for format in ["text", "json"] {
        let loud =
            ["-vvv", "--log-format", format, "--notify-on", "always", "-o", "all.jsonl", "-o", "a.prom"];
        let run = fixture.run(&[&RUN[..], &loud].concat()).exits(0);
        assert!(run.stderr.contains("the webhook at 127.0.0.1 was told"), "{}", run.stderr);
        let config = fixture.run(&["config", "-vvv", "--format", format]).exits(0);
        assert!(config.stdout.contains(&format!("{}/***", good.base_url())), "{}", config.stdout);
        for told in [run, config] {
            assert!(!told.stdout.contains(MARKER) && !told.stderr.contains(MARKER), "{}", told.stderr);
        }
    }
    let tells = |path: &PathBuf| {
        fs::read(path).unwrap().windows(MARKER.len()).any(|bytes| bytes == MARKER.as_bytes())
    };
    assert_eq!(fixture.files().into_iter().find(tells), None);
}

#[test]
fn a_webhook_that_nobody_may_overhear_is_refused_otherwise() {
    let (api, chat) = (api(), chat(|| ok().into()));
    let fixture = fixture(&api, &[&chat]);
    let secret = format!("http://chat.example/{MARKER}?{MARKER}");
    for url in [secret.as_str(), "ftp://127.0.0.1/uuid", "chat.example"] {
        let refused = fixture.run(&[&RUN[..], &["--notify-url", url]].concat()).exits(2);
        refused.assert_in_stderr("--notify-url");
        assert!(!refused.stderr.contains(MARKER), "{}", refused.stderr);
    }
    assert_eq!(api.received().len() + chat.received().len(), 0);
}

#[test]
fn every_line_of_a_runs_log_names_it_and_the_last_one_tells_how_it_ended() {
    let (api, chat) = (api(), chat(|| html(500).into()));
    let fixture = fixture(&api, &[&chat]);
    let run = ["run", "unknown.csv", "--action", "allocate", "-vv", "--log-format", "json"];
    let outcome = fixture.run(&[&run[..], &["--keep-runs", "1"]].concat()).exits(3);
    let lines = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.map(|line: Value| line["fields"].clone()).collect();
    let begins = lines.iter().position(|fields| fields["message"] == "run begins").unwrap();
    let is_of_run = |fields: &Value| fields["run"] == id(&outcome);
    assert!(lines[begins..].iter().all(is_of_run), "{}", outcome.stderr);
    let numbers = |message: &str, names: &[&str]| {
        let line = lines.iter().find(|fields| fields["message"].as_str().unwrap().starts_with(message));
        for name in names {
            assert!(line.unwrap()[name].is_number(), "{name}: {line:?}");
        }
    };
    numbers("run begins", &["selected", "skipped"]);
    numbers("answered", &["status", "latency_ms"]);
    numbers("settled 2 of 2 VMs", &["settled", "selected", "failed"]);
    let last = lines.last().unwrap();
    let counts = ["created", "unchanged", "updated", "failed", "selected", "exit_code"];
    assert_eq!(counts.map(|name| last[name].as_u64()), [0, 1, 0, 1, 2, 3].map(Some));
    assert_eq!((&last["message"], last.get("stopped_by")), (&json!("run ended"), None));

    let stopped = fixture.run(&[&run[..], &["--canary", "2"]].concat()).exits(4);
    let last: Value = serde_json::from_str(stopped.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&last["fields"]["stopped_by"], &last["fields"]["exit_code"]), (&json!("canary"), &json!(4)));
    let text = fixture.run(&RUN).exits(0).stderr;
    let ends = iter::once(text.lines().last().unwrap()).all(|line| line.contains("run ended"));
    assert!(ends && text.contains(" settled 2 of 2 VMs · 0 failed\n"), "{text}");
}
