//! What a shell is told: completions, with racks and run ids from the ledger.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::fixture::Fixture;

/// `v6fleet` is the program itself in the shell, which has nothing of the user's.
const SOURCED: &str = r#"
    PATH="$(dirname "$PROGRAM"):$PATH"
    source <(v6fleet completions bash)
"#;

const RUN: [&str; 7] = ["run", "fleet.csv", "--action", "allocate", "--sandbox", "--rate", "none"];

/// Racks that can be typed, and some that a shell would not take for a word.
const FLEET: &str =
    "vmid,rack\n10000,dc1r28\n10010,dc1r29\n10020,dc2r01\n10021,dc1;id\n10022,$(id)\n10023,dc1*\n";

/// What the shell that sources the program's own script offers for the last of these words.
fn bash(fixture: &Fixture, words: &[&str]) -> Vec<String> {
    let script = r#"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_v6fleet v6fleet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = beside(fixture, "bash");
    command.args(["--norc", "-c"]).arg([SOURCED, script].concat()).args(["bash", "v6fleet"]).args(words);
    lines(&mut command)
}

/// What a line of an interactive bash has become when Tab was pressed at its end.
fn tabbed(fixture: &Fixture, line: &str) -> String {
    // The line is kept from being run, and shown.
    let shown = "\nshow() { printf 'LINE:%s\\n' \"$*\"; exit; }\nPS1= ; set +o history\n";
    fixture.write("bashrc", [SOURCED, shown].concat());
    let mut command = beside(fixture, "script");
    command.args(["-qec", "bash --noprofile --rcfile bashrc -i", "/dev/null"]).env("TERM", "dumb");
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Ctrl-A is the line's beginning.
    let typed = format!("{line}\t\u{1}show \n");
    shell.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    let line = screen.lines().find_map(|shown| shown.strip_prefix("LINE:v6fleet "));
    line.unwrap_or_else(|| panic!("{screen}")).trim_end().to_owned()
}

/// Another program, where the program would run and with its environment.
fn beside(fixture: &Fixture, other: &str) -> Command {
    let program = fixture.command(&[]);
    let mut command = Command::new(other);
    command.current_dir(program.get_current_dir().unwrap()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PROGRAM", program.get_program());
    command
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn racks_and_runs_are_offered_from_the_ledger_that_is_meant() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    let dir = fixture.run(&RUN).exits(0).dir.unwrap();
    let run = dir.file_name().unwrap().to_str().unwrap();
    assert_eq!(bash(&fixture, &["run", "--sandbox", "--rack", "dc1"]), ["dc1r28", "dc1r29"]);
    assert_eq!(bash(&fixture, &["diff", "--sandbox", "--rack", ""]), ["dc1r28", "dc1r29", "dc2r01"]);
    for words in [
        &["report", "--sandbox", "2"][..],
        &["diff", "--sandbox", "latest", "2"],
        &["resume", "--sandbox", "2"],
    ] {
        assert_eq!(bash(&fixture, words), [run], "{words:?}");
    }
    assert_eq!(bash(&fixture, &["runs", "--sandbox", "--pin", "l"]), ["latest"]);
    let named = ["--ledger", "state/v6fleet/sandbox.db", "run", "--rack", "dc2"];
    assert_eq!(bash(&fixture, &named), ["dc2r01"]);
    assert_eq!(bash(&fixture, &["run", "--rack", "dc"]), Vec::<String>::new(), "there is no other ledger");
}

#[test]
fn commands_options_values_and_files_are_offered_without_a_ledger() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    assert_eq!(bash(&fixture, &["ru"]), ["run", "runs"]);
    assert_eq!(bash(&fixture, &["run", "--max-f"]), ["--max-failed"]);
    assert_eq!(bash(&fixture, &["run", "--action", "ref"]), ["refresh_next_hop"]);
    assert_eq!(bash(&fixture, &["run", "--format", ""]), ["text", "json"]);
    assert_eq!(bash(&fixture, &["run", "--delimiter", "t"]), ["tab"]);
    assert_eq!(bash(&fixture, &["run", "fl"]), ["fleet.csv"]);
}

#[test]
fn a_value_behind_an_equals_sign_is_completed_as_bash_sees_it() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    let dir = fixture.run(&RUN).exits(0).dir.unwrap();
    let run = dir.file_name().unwrap().to_str().unwrap();
    let failed = ["run", "fleet.csv", "--sandbox", "--only-failed"];
    assert_eq!(bash(&fixture, &[&failed[..], &["=", "2"]].concat()), [run]);
    assert_eq!(bash(&fixture, &[&failed[..], &["="]].concat()), ["latest", run]);
    assert_eq!(bash(&fixture, &[&failed[..], &["2"]].concat()), Vec::<String>::new(), "an inventory");
    assert_eq!(bash(&fixture, &["run", "--action", "=", "ref"]), ["refresh_next_hop"]);
    let named = ["--ledger", "=", "state/v6fleet/sandbox.db", "run", "--rack", "=", "dc2"];
    assert_eq!(bash(&fixture, &named), ["dc2r01"]);
    let url = ["history", "--base-url", "http", ":", "//[", ":", ":", "1]", "--led"];
    assert_eq!(bash(&fixture, &url), ["--ledger"]);
}

#[test]
fn tab_completes_what_is_typed_at_a_prompt() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    let dir = fixture.run(&RUN).exits(0).dir.unwrap();
    let run = dir.file_name().unwrap().to_str().unwrap();
    for (typed, completed) in [
        ("run --sandbox --only-failed=2", format!("run --sandbox --only-failed={run}")),
        ("run --sandbox --only-failed=la", "run --sandbox --only-failed=latest".to_owned()),
        ("run --sandbox --rack=", "run --sandbox --rack=dc".to_owned()),
        ("run --sandbox --rack dc2", "run --sandbox --rack dc2r01".to_owned()),
        ("report --sandbox 2", format!("report --sandbox {run}")),
    ] {
        assert_eq!(tabbed(&fixture, &format!("v6fleet {typed}")), completed);
    }
}

#[test]
fn other_shells_are_answered_too() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    fixture.run(&RUN).exits(0);
    for shell in ["zsh", "fish", "elvish"] {
        let offered = |words: &[&str]| {
            let mut command = fixture.command(&[&["--", "v6fleet", "run", "--sandbox"], words].concat());
            command.env("V6FLEET_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (2 + words.len()).to_string());
            lines(&mut command)
        };
        assert_eq!(offered(&["--rack", "dc1r2"]), ["dc1r28", "dc1r29"], "{shell}");
        assert_eq!(offered(&["--rack=dc1r2"]), ["--rack=dc1r28", "--rack=dc1r29"], "{shell}");
        let failed = offered(&["--only-failed=la"]);
        assert!(
            matches!(&failed[..], [one] if one.starts_with("--only-failed=latest")),
            "{shell}: {failed:?}"
        );
    }
}
