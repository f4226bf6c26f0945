//! A command of deploy/ as its scheduler would call it, and what the program understands by it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use support::fixture::Fixture;

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(format!("deploy/{name}")).unwrap()
}

/// Lines that are no comments.
pub(crate) fn lines(file: &str) -> impl Iterator<Item = &str> {
    file.lines().filter(|line| !line.starts_with('#'))
}

/// The only line that has the text, from there on.
pub(crate) fn after<'a>(file: &'a str, text: &str) -> &'a str {
    let mut found = lines(file).filter_map(|line| line.split_once(text));
    let (_, rest) = found.next().unwrap();
    assert!(found.next().is_none(), "{text} twice");
    rest.trim()
}

/// The items of every YAML list, each on its line, that stands under a line which ends with a key.
pub(crate) fn lists<'a>(file: &'a str, key: &str) -> Vec<Vec<&'a str>> {
    let item = |line: &'a str| line.trim().strip_prefix("- ")?.split(" #").next();
    let list = |rest: &'a str| rest.lines().map_while(item).collect();
    file.split(&format!(" {key}:\n")).skip(1).map(list).collect()
}

/// The program's own variables that a file speaks of.
pub(crate) fn variables_in(file: &str) -> Vec<&str> {
    file.match_indices("V6FLEET_")
        .filter_map(|(at, _)| file[at..].split_once('='))
        .map(|(name, _)| name)
        .collect()
}

/// What a scheduler calls the program with.
pub(crate) struct Example {
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

impl Example {
    /// Of a line of words, and of lines that set variables.
    pub(crate) fn new<'a>(line: &str, variables: impl Iterator<Item = &'a str>) -> Self {
        let variable =
            |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            environment: variables.filter_map(variable).collect(),
        }
    }

    /// Fails unless the program takes it for a run that a schedule may be trusted with: with brakes, going on where the last
    /// one was stopped, and with all that it keeps where that outlives the night.
    pub(crate) fn is_fit_for_every_night(&self) {
        let known = v6fleet::cli::variables();
        for name in self.environment.keys().filter(|name| name.starts_with("V6FLEET_")) {
            assert!(known.contains(name), "{name}");
        }
        let settings = self.settings();
        for typed in ["max-shrink", "canary", "max-failed", "max-changed", "fail-on"] {
            assert_ne!(settings[typed].1, "default", "{typed}");
        }
        assert_eq!(settings["resume"].0, "true");
        let (ledger, reports) = (&settings["ledger"].0, &settings["output-dir"].0);
        let on_a_volume = |path: &str| path.starts_with("/var/lib/v6fleet/");
        let in_a_database = ledger.starts_with("postgres://") && reports == "none";
        assert!(in_a_database || (on_a_volume(ledger) && on_a_volume(reports)), "{ledger} {reports}");
    }

    /// Fails unless the program takes it for a worker that waits for the next run.
    pub(crate) fn waits_for_a_run(&self) {
        let words = std::iter::once("v6fleet").chain(self.arguments.iter().map(String::as_str));
        let matches = v6fleet::cli::command().try_get_matches_from(words).unwrap();
        let (verb, work) = matches.subcommand().unwrap();
        assert!(verb == "work" && work.get_flag("wait"), "{:?}", self.arguments);
    }

    /// Every setting of its run and where it comes from, as the program itself tells.
    fn settings(&self) -> BTreeMap<String, (String, String)> {
        let fixture = Fixture::new();
        let (verb, arguments) = self.arguments.split_first().unwrap();
        assert_eq!(verb, "run");
        let mut command = fixture.command(&["config"]);
        command.args(arguments).envs(&self.environment);
        let setting = |line: &str| {
            let (name, rest) = line.split_once(' ').unwrap();
            let (value, source) = rest.trim().rsplit_once("  ").unwrap();
            (name.to_owned(), (value.trim().to_owned(), source.to_owned()))
        };
        said(&mut command).lines().map(setting).collect()
    }
}

/// What a command that succeeds has to say.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn finds_nothing_to_say(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
