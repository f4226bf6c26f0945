//! Flag, then environment, then file, then default: for a dry run, and as a run records it.

use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::sandbox::Sandbox;

const RUN: [&str; 3] = ["run", "inventories/demo.csv", "--sandbox"];

/// What `--dry-run` makes of the rate: the demo has 60 VMs.
fn dry_rate(fixture: &Fixture, more: &[&str]) -> f64 {
    let outcome = fixture.run(&[&RUN[..], &["--dry-run", "--format", "json"], more].concat()).exits(0);
    let dry: Value = serde_json::from_str(&outcome.stdout).unwrap();
    (60.0 / dry["at_least_s"].as_f64().unwrap()).round()
}

fn is(rate: f64, expected: u32) -> bool {
    (rate - f64::from(expected)).abs() < 0.5
}

#[test]
fn a_flag_goes_before_the_environment_that_before_the_file_and_that_before_the_default() {
    let mut fixture = Fixture::new();
    assert!(is(dry_rate(&fixture, &[]), 10));
    fixture.write("config/v6fleet/config.toml", "rate = '200/s'\n");
    assert!(is(dry_rate(&fixture, &[]), 200));
    fixture.write("mine.toml", "rate = '300/s'\n");
    assert!(is(dry_rate(&fixture, &["--config", "mine.toml"]), 300));
    fixture.set("V6FLEET_RATE", "400/s");
    assert!(is(dry_rate(&fixture, &[]), 400));
    assert!(is(dry_rate(&fixture, &["--config", "mine.toml"]), 400));
    assert!(is(dry_rate(&fixture, &["--rate", "500/s"]), 500));
    assert!(!fixture.path("state").exists() && !fixture.path("reports").exists(), "a dry run writes nothing");
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let mut fixture = Fixture::new();
    fixture.write("mine.toml", "rate = '300/s'\n");
    fixture.set("V6FLEET_CONFIG", "mine.toml");
    assert!(is(dry_rate(&fixture, &[]), 300));
    fixture.write("flag.toml", "rate = '200/s'\n");
    assert!(is(dry_rate(&fixture, &["--config", "flag.toml"]), 200));
    fixture.set("V6FLEET_CONFIG", "nosuch.toml");
    fixture.run(&RUN).exits(2);
}

#[test]
fn a_run_records_the_options_in_force_whatever_their_source() {
    let fixture = Fixture::new().env("V6FLEET_MAX_ATTEMPTS", "4").env("V6FLEET_SANDBOX", "true");
    fixture.write(
        "config/v6fleet/config.toml",
        "max-attempts = 3\nconcurrency = 7\nrack = ['dc1r27', 'dc1r28']\n",
    );
    let outcome = fixture.run(&["run", "inventories/demo.csv", "--rate", "none"]).exits(3);
    let options = &outcome.report()["run"]["options"];
    for (name, value) in [
        ("rate", json!("none")),
        ("max-attempts", json!("4")),
        ("concurrency", json!("7")),
        ("rack", json!(["dc1r27", "dc1r28"])),
        ("timeout", json!("30s")),
    ] {
        assert_eq!(options[name], value, "{name}");
    }
    assert_eq!(outcome.rows().len(), 30);
    assert_eq!(outcome.report()["run"]["base_url"], "sandbox");
}

#[test]
fn a_resumed_run_takes_its_flags_then_the_environment_then_what_it_began_with() {
    let mut fixture = Fixture::new();
    let begin = ["--rate", "1/s", "--timeout", "20s", "--concurrency", "3", "--deadline", "1ms"];
    fixture.run(&[&RUN[..], &begin].concat()).exits(5);
    fixture.set("V6FLEET_RATE", "2/s");
    fixture.set("V6FLEET_TIMEOUT", "4s");
    let outcome = fixture.run(&["resume", "--sandbox", "--rate", "none", "--deadline", "1m"]).exits(3);
    let options = &outcome.report()["run"]["options"];
    for (name, value) in [("rate", "none"), ("timeout", "4s"), ("concurrency", "3")] {
        assert_eq!(options[name], value, "{name}");
    }
}

#[test]
fn the_ledger_and_the_reports_go_where_they_are_told_to() {
    let fixture = Fixture::new().env("V6FLEET_LEDGER", "mine/of-env.db").env("V6FLEET_OUTPUT_DIR", "out");
    fixture.run(&[&RUN[..], &["--rate", "none"]].concat()).exits(3);
    assert!(fixture.path("mine/of-env.db").is_file() && !fixture.path("state").exists());
    assert!(fixture.path("out").is_dir() && !fixture.path("reports").exists());
    fixture
        .run(&["--ledger", "of-flag.db", "run", "inventories/demo.csv", "--sandbox", "--rate", "none"])
        .exits(3);
    assert!(fixture.path("of-flag.db").is_file());
}

#[test]
fn a_dry_run_says_first_and_last_that_nothing_is_called() {
    let fixture = Fixture::new();
    let outcome = fixture.run(&[&RUN[..], &["--dry-run", "--rate", "20/s"]].concat()).exits(0);
    let said = "Dry run: nothing is called, nothing is written.";
    assert!(
        outcome.stdout.starts_with(said) && outcome.stdout.trim_end().ends_with(said),
        "{}",
        outcome.stdout
    );
    outcome.assert_in_stdout("At 20/s, that takes 3.0 s at least.");
    for rack in ["dc1r27", "dc1r28", "dc1r29", "dc2r01"] {
        outcome.assert_in_stdout(&format!("{rack}         15  (0 seen before, 15 never)"));
    }
    fixture.run(&[&RUN[..], &["--rate", "none"]].concat()).exits(3);
    let outcome = fixture.run(&[&RUN[..], &["--dry-run", "--rack", "dc1r27"]].concat()).exits(0);
    outcome.assert_in_stdout("15  (15 seen before, 0 never)");
}

#[test]
fn rehearsals_and_real_runs_never_share_a_ledger() {
    let fixture = Fixture::new().env("HOSTUP_API_KEY", "a-key").env("V6FLEET_LEDGER", "one.db");
    fixture.run(&[&RUN[..], &["--rate", "none"]].concat()).exits(3);
    let real = ["run", "inventories/demo.csv", "--base-url", "http://127.0.0.1:1"];
    let outcome = fixture.run(&real).exits(2);
    outcome.assert_in_stderr("this ledger holds rehearsals");
}

#[test]
fn what_is_asked_for_a_rehearsal_touches_no_real_run() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).env("V6FLEET_LEDGER", "real.db");
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    let run = ["run", "fleet.csv", "--action", "allocate"];
    fixture.run(&[&run[..], &["--rate", "1/s", "--deadline", "100ms"]].concat()).exits(5);
    let called = sandbox.called_vmids();
    let commands: [&[&str]; 8] = [
        &run,
        &["resume"],
        &["report"],
        &["runs"],
        &["runs", "--pin", "latest"],
        &["history", "10000"],
        &["diff", "latest", "latest"],
        &["audit", "fleet.csv"],
    ];
    for command in commands {
        let outcome = fixture.run(&[command, &["--sandbox"]].concat()).exits(2);
        assert!(outcome.stderr.contains("this ledger holds real runs"), "{command:?}: {}", outcome.stderr);
    }
    assert_eq!(sandbox.called_vmids(), called);
}

#[test]
fn a_rehearsal_that_cannot_begin_leaves_no_run() {
    let fixture = Fixture::new();
    fixture.run(&[&RUN[..], &["--rate", "none"]].concat()).exits(3);
    let runs = fixture.run(&["runs", "--sandbox"]).exits(0).stdout;
    let world = format!("{}/inventories/world.toml", env!("CARGO_MANIFEST_DIR"));
    let outcome = fixture.run(&[&RUN[..], &["--world", &world]].concat()).exits(2);
    outcome.assert_in_stderr("is not in this world");
    assert_eq!(fixture.run(&["runs", "--sandbox"]).exits(0).stdout, runs);
}

/// The settings that a run of the demo recorded.
fn recorded(fixture: &Fixture, more: &[&str]) -> Value {
    fixture.run(&[&RUN[..], &["--rate", "none"], more].concat()).report()["run"]["options"].clone()
}

#[test]
fn a_repeatable_option_has_one_value_a_line_in_its_variable() {
    let mut fixture = Fixture::new().env("V6FLEET_OUTPUT", "a.csv\r\n\n  b, c.json  \n");
    fixture.write("config/v6fleet/config.toml", "rack = ['dc1r27']\noutput = 'of-file.csv'\n");
    assert_eq!(recorded(&fixture, &[])["output"], json!(["a.csv", "b, c.json"]));
    assert!(fixture.path("a.csv").is_file() && fixture.path("b, c.json").is_file());
    assert!(!fixture.path("of-file.csv").exists(), "the environment goes before the file");
    fixture.set("V6FLEET_RACK", "dc1r28\ndc1r29");
    assert_eq!(recorded(&fixture, &[])["rack"], json!(["dc1r28", "dc1r29"]));
    assert_eq!(recorded(&fixture, &["--rack", "dc2r01"])["rack"], "dc2r01");
    fixture.set("V6FLEET_RACK", "");
    assert_eq!(recorded(&fixture, &[])["rack"], Value::Null, "an empty variable holds no value");
}

#[test]
fn who_looks_at_an_old_run_writes_what_he_types_alone_and_no_files_of_the_nights() {
    let mut fixture = Fixture::new().env("V6FLEET_OUTPUT", "night.prom");
    fixture.write("config/v6fleet/config.toml", "output = 'night.csv'\n");
    fixture.run(&[&RUN[..], &["--rate", "none"]].concat()).exits(3);
    let tonight = fixture.read("night.prom");
    fixture.write("night.prom", "tonight's");
    fixture.run(&["report", "--sandbox"]).exits(0).assert_in_stdout("Complete: 60 VMs, ");
    fixture.run(&["report", "--sandbox", "-o", "again.prom"]).exits(0);
    assert_eq!((fixture.read("night.prom").as_str(), fixture.read("again.prom")), ("tonight's", tonight));
    fixture.set("V6FLEET_OUTPUT", "");
    fixture.run(&["report", "--sandbox"]).exits(0);
    assert!(!fixture.path("night.csv").exists());
}

#[test]
fn a_bad_value_is_told_with_the_place_that_it_came_from() {
    let word = |option: &str| option.replace('-', "_").to_uppercase();
    for (option, value, reason) in [
        ("rate", "abc", "not a rate"),
        ("concurrency", "0", "not a number from 1 to 1024"),
        ("concurrency", "1025", "not a number from 1 to 1024"),
        ("max-attempts", "0", "must be at least 1"),
        ("timeout", "30", "not a duration"),
        ("progress", "sometimes", "auto"),
        ("log-format", "xml", "text, json"),
        ("sandbox", "perhaps", "not a boolean"),
        ("rack", "[", "not a pattern"),
    ] {
        let fixture = Fixture::new().env(&format!("V6FLEET_{}", word(option)), value);
        let told = fixture.run(&["run", "inventories/demo.csv"]).exits(2).stderr;
        let begins = format!("error: V6FLEET_{}: invalid value '{value}' for --{option}: ", word(option));
        assert!(told.starts_with(&begins) && told.contains(reason), "{told}");

        let fixture = Fixture::new();
        fixture.write("mine.toml", format!("{} = '{value}'\n", option.replace('-', "_")));
        let told = fixture.run(&["run", "inventories/demo.csv", "--config", "mine.toml"]).exits(2).stderr;
        let key = option.replace('-', "_");
        let begins = format!("error: mine.toml: {key}: invalid value '{value}' for --{option}: ");
        assert!(told.starts_with(&begins) && told.contains(reason), "{told}");
    }
    let fixture = Fixture::new().env("V6FLEET_RATE", "20/s");
    let told = fixture.run(&[&RUN[..], &["--rate", "abc"]].concat()).exits(2).stderr;
    assert!(told.contains("'--rate <RATE>'") && !told.contains("V6FLEET_RATE"), "{told}");
}

#[test]
fn a_variable_that_nothing_knows_is_a_warning() {
    let fixture = Fixture::new().env("V6FLEET_RATEE", "5/s");
    let told = fixture.run(&[&RUN[..], &["--dry-run"]].concat()).exits(0).stderr;
    assert!(
        told.contains("V6FLEET_RATEE is no option of v6fleet, and is ignored; did you mean V6FLEET_RATE?"),
        "{told}"
    );
    fixture.write("mine.toml", "ratee = '5/s'\n");
    let told = fixture.run(&[&RUN[..], &["--dry-run", "--config", "mine.toml"]].concat()).exits(2).stderr;
    assert!(told.contains("did you mean rate?"), "{told}");
}

#[test]
fn a_file_or_directory_that_is_no_use_is_named_with_its_option() {
    let fixture = Fixture::new().env("HOSTUP_API_KEY", "a-key");
    fixture.write("file", "");
    let missing = "missing/\u{202e}x";
    for (option, value) in [
        ("--output-dir", "file"),
        ("--output-dir", "file/below"),
        ("--ca-file", missing),
        ("--api-key-file", missing),
        ("--config", missing),
    ] {
        let run = ["run", "inventories/demo.csv", "--action", "allocate", option, value];
        let told = fixture.run(&run).exits(2).stderr;
        let named = format!("error: {option} {}: ", value.replace('\u{202e}', "\\u{202e}"));
        assert!(told.contains(&named), "{told}");
    }
}

#[test]
fn config_tells_every_setting_with_its_source_and_no_secret() {
    let mut fixture = Fixture::new().env("HOSTUP_API_KEY", "secret-marker").env("V6FLEET_TIMEOUT", "7s");
    fixture
        .write("config/v6fleet/config.toml", "canary = 3\nping-url = 'https://hc.example/secret-marker'\n");
    let typed =
        ["config", "-vv", "--rack", "a", "--rack", "\u{1b}2J", "--proxy", "http://u:secret-marker@p:1"];
    let settings = |outcome: &crate::fixture::Outcome| -> Vec<[String; 3]> {
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(told["schema"], "v6fleet.config/1");
        let setting = |setting: &Value| {
            let values: Vec<&str> =
                setting["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
            [
                setting["name"].as_str().unwrap().into(),
                values.join(" "),
                setting["source"].as_str().unwrap().into(),
            ]
        };
        told["settings"].as_array().unwrap().iter().map(setting).collect()
    };
    let all = settings(&fixture.run(&[&typed[..], &["--format", "json"]].concat()).exits(0));
    let file = fixture.path("config/v6fleet/config.toml").display().to_string();
    for (name, value, source) in [
        ("rack", "a \u{1b}2J", "flag"),
        ("timeout", "7s", "V6FLEET_TIMEOUT"),
        ("canary", "3", format!("{file}: canary").as_str()),
        ("ping-url", "https://hc.example/***", format!("{file}: ping-url").as_str()),
        ("proxy", "http://***@p:1", "flag"),
        ("rate", "10/s", "default"),
        ("ledger", fixture.path("state/v6fleet/ledger.db").to_str().unwrap(), "default"),
        ("config", file.as_str(), "default"),
        ("api-key", "fingerprint 6c18de18", "HOSTUP_API_KEY"),
    ] {
        let told: Vec<_> = all.iter().filter(|setting| setting[0] == name).collect();
        assert_eq!(told, [&[name, value, source].map(str::to_owned)]);
    }
    let text = fixture.run(&typed).exits(0);
    for told in [&text.stdout, &text.stderr] {
        assert!(!told.contains("secret-marker") && !told.contains('\u{1b}'), "{told}");
    }
    assert_eq!(text.stdout.lines().count(), all.len());
    let rehearsal = settings(&fixture.run(&["config", "--sandbox", "--format", "json"]).exits(0));
    assert!(rehearsal.iter().all(|[name, ..]| name != "api-key"));
    fixture.set("V6FLEET_RATE", "fast");
    let refused = fixture.run(&typed).exits(2);
    assert!(refused.stderr.contains("V6FLEET_RATE"), "{}", refused.stderr);
    assert!(!fixture.path("state").exists() && !fixture.path("reports").exists());
}
