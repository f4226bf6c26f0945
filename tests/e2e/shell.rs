//! What a shell is told: completions, with racks and run ids from the ledger; and what has room on its terminal.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::fixture::{Fixture, binary};

/// `v6fleet` is the program itself in the shell, which has nothing of the user's.
const SOURCED: &str = r#"
    PATH="$(dirname "$PROGRAM"):$PATH"
    source <(v6fleet completions bash)
"#;

const RUN: [&str; 7] = ["run", "fleet.csv", "--action", "allocate", "--sandbox", "--rate", "none"];

/// Where rehearsals keep theirs.
const LEDGER: &str = "state/v6fleet/sandbox.db";

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

/// A shell that knows where the program is.
fn beside(fixture: &Fixture, shell: &str) -> Command {
    let mut command = fixture.beside(shell);
    command.env("PROGRAM", binary());
    command
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A fixture with the fleet in the rehearsals' ledger, and the id of its one run.
fn rehearsed() -> (Fixture, String) {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    let dir = fixture.run(&RUN).exits(0).dir.unwrap();
    let run = dir.file_name().unwrap().to_str().unwrap().to_owned();
    (fixture, run)
}

/// Of each line of words, what is offered for the last of them.
fn assert_offered(fixture: &Fixture, table: &[(&[&str], &[&str])]) {
    for (words, offered) in table {
        assert_eq!(bash(fixture, words), *offered, "{words:?}");
    }
}

#[test]
fn racks_and_runs_are_offered_from_the_ledger_that_is_meant() {
    let (fixture, run) = rehearsed();
    assert_offered(
        &fixture,
        &[
            (&["run", "--sandbox", "--rack", "dc1"], &["dc1r28", "dc1r29"]),
            (&["diff", "--sandbox", "--rack", ""], &["dc1r28", "dc1r29", "dc2r01"]),
            (&["report", "--sandbox", "2"], &[&run]),
            (&["diff", "--sandbox", "latest", "2"], &[&run]),
            (&["resume", "--sandbox", "2"], &[&run]),
            (&["runs", "--sandbox", "--pin", "l"], &["latest"]),
            (&["--ledger", LEDGER, "run", "--rack", "dc2"], &["dc2r01"]),
            // There is no other ledger.
            (&["run", "--rack", "dc"], &[]),
        ],
    );
}

#[test]
fn commands_options_values_and_files_are_offered_without_a_ledger() {
    let fixture = Fixture::new();
    fixture.write("fleet.csv", FLEET);
    assert_offered(
        &fixture,
        &[
            (&["ru"], &["run", "runs"]),
            (&["run", "--max-f"], &["--max-failed"]),
            (&["run", "--action", "ref"], &["refresh_next_hop"]),
            (&["run", "--format", ""], &["text", "json"]),
            (&["run", "--delimiter", "t"], &["tab"]),
            (&["run", "fl"], &["fleet.csv"]),
        ],
    );
}

#[test]
fn a_value_behind_an_equals_sign_is_completed_as_bash_sees_it() {
    let (fixture, run) = rehearsed();
    assert_offered(
        &fixture,
        &[
            (&["run", "fleet.csv", "--sandbox", "--only-failed", "=", "2"], &[&run]),
            (&["run", "fleet.csv", "--sandbox", "--only-failed", "="], &["latest", &run]),
            // That is an inventory.
            (&["run", "fleet.csv", "--sandbox", "--only-failed", "2"], &[]),
            (&["run", "--action", "=", "ref"], &["refresh_next_hop"]),
            (&["--ledger", "=", LEDGER, "run", "--rack", "=", "dc2"], &["dc2r01"]),
            (&["history", "--base-url", "http", ":", "//[", ":", ":", "1]", "--led"], &["--ledger"]),
        ],
    );
}

#[test]
fn tab_completes_what_is_typed_at_a_prompt() {
    let (fixture, run) = rehearsed();
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
    let (fixture, _) = rehearsed();
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

#[test]
fn the_list_of_runs_fits_the_terminal_that_it_is_shown_on() {
    let (fixture, run) = rehearsed();
    let shown = |columns: u16| {
        let typed = format!("stty cols {columns}; \"$PROGRAM\" runs --sandbox");
        let screen = lines(beside(&fixture, "script").args(["-qec", &typed, "/dev/null"]));
        screen.iter().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let wide = shown(200);
    assert!(wide.len() == 3 && wide[2].starts_with(&format!(" {run}  ")), "{wide:?}");
    let narrow = shown(80);
    assert_eq!(
        (narrow.len(), narrow[0].as_str(), narrow[1].as_str()),
        (4, run.as_str(), "  allocate fleet.csv")
    );
}
