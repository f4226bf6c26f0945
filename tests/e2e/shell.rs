//! What a shell is told: completions, with racks and run ids from the ledger.

use std::process::Command;

use crate::fixture::Fixture;

const RUN: [&str; 7] = ["run", "fleet.csv", "--action", "allocate", "--sandbox", "--rate", "none"];

/// Racks that can be typed, and some that a shell would not take for a word.
const FLEET: &str =
    "vmid,rack\n10000,dc1r28\n10010,dc1r29\n10020,dc2r01\n10021,dc1;id\n10022,$(id)\n10023,dc1*\n";

/// What the shell that sources the program's own script offers for the last of these words.
fn bash(fixture: &Fixture, words: &[&str]) -> Vec<String> {
    let script = r#"
        PATH="$(dirname "$0"):$PATH"
        source <(v6fleet completions bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_v6fleet v6fleet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let program = fixture.command(&[]);
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script]).arg(program.get_program()).arg("v6fleet").args(words);
    command.current_dir(program.get_current_dir().unwrap()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    lines(&mut command)
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
    assert_eq!(bash(&fixture, &["run", "fl"]), ["fleet.csv"]);
}

#[test]
fn other_shells_are_answered_too() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    fixture.run(&RUN).exits(0);
    for shell in ["zsh", "fish", "elvish"] {
        let mut command = fixture.command(&["--", "v6fleet", "run", "--sandbox", "--rack", "dc1r2"]);
        command.env("V6FLEET_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "4");
        assert_eq!(lines(&mut command), ["dc1r28", "dc1r29"], "{shell}");
    }
}
