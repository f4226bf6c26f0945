//! Every example with a prompt is typed, and the program has to say what the document says.
//!
//! A document is one session, in a directory with the example inventories and the demo fleet as `fleet.csv`. When a run was,
//! its id and how fast it went differ each time; so does where an interrupted one was stopped. A line `…` stands for any
//! number of lines.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use regex::{Captures, Regex};
use support::fixture::{Fixture, binary};
use support::sandbox::Sandbox;
use support::skip::has;

use crate::{FENCE, documents, is_being_updated, read};

const PROMPT: &str = "$ ";
const ELLIPSIS: &str = "…";
/// A run's id, or the start of one.
const RUN: &str = r"\d{8}T\d{6}Z(-[0-9a-f]{4})?";
const RUN_ID_LENGTH: usize = "20261124T214049Z-a38c".len();
/// Where a sandbox is; here it takes any free port, lest two meet.
const SANDBOX: &str = "http://127.0.0.1:8646";

/// What `make` runs in cargo's place: the program is built.
const CARGO: &str = "#!/bin/sh
[ \"$1\" = build ] && exit
until [ \"$1\" = -- ]; do shift; done
shift
exec v6fleet \"$@\"
";

/// A shell as a reader has it.
struct Terminal {
    fixture: Fixture,
    sandbox: Option<Sandbox>,
    /// The run ids of the document, and those that they are here.
    runs: BTreeMap<String, String>,
}

impl Terminal {
    fn open() -> Self {
        let mut fixture = Fixture::new();
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile"), fixture.path("Makefile")).unwrap();
        fixture.write("fleet.csv", read("inventories/demo.csv"));
        fixture.write("cargo", CARGO);
        fs::set_permissions(fixture.path("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        fixture.set("CARGO", "./cargo");
        fixture.set("PATH", &format!("{}:/usr/bin:/bin", binary().parent().unwrap().display()));
        if !is_being_updated() {
            fixture.set("V6FLEET_RATE", "100/s");
        }
        Self { fixture, sandbox: None, runs: BTreeMap::new() }
    }

    /// What a line leads to on the screen.
    fn types(&mut self, line: &str) -> String {
        // Of the whole id: two runs may begin in the same second here.
        let line = self.with_runs(line, |_| RUN_ID_LENGTH);
        let shown = match line.split_once(' ') {
            Some(("export", variables)) => self.exports(variables),
            Some(("v6fleet", "sandbox")) => self.serves(),
            _ => self.runs(&line),
        };
        self.sandbox.iter().fold(shown, |shown, sandbox| shown.replace(&sandbox.base_url(), SANDBOX))
    }

    fn exports(&mut self, variables: &str) -> String {
        for (name, value) in variables.split(' ').map(|pair| pair.split_once('=').unwrap()) {
            let here = self.sandbox.as_ref().map(Sandbox::base_url);
            self.fixture.set(name, &value.replace(SANDBOX, &here.unwrap_or_default()));
        }
        String::new()
    }

    fn serves(&mut self) -> String {
        format!("listening on {}", self.sandbox.insert(Sandbox::start(&[])).base_url())
    }

    fn runs(&self, line: &str) -> String {
        let both = format!("{{ {line}\n}} 2>&1");
        let output = self.fixture.beside("/bin/sh").args(["-c", &both]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A line of the document with the runs of this session; a run may be named by the start of its id, and is by as much
    /// of it as `length` says of what the document has.
    fn with_runs(&self, line: &str, length: fn(&str) -> usize) -> String {
        let known = |run: &Captures| {
            let ours = self.runs.iter().find(|(told, _)| told.starts_with(&run[0])).map(|(_, ours)| ours);
            ours.unwrap_or_else(|| panic!("{} is in no output before {line}", &run[0]))[..length(&run[0])]
                .to_owned()
        };
        Regex::new(RUN).unwrap().replace_all(line, known).into_owned()
    }

    fn learns_runs(&mut self, told: &str, shown: &str) {
        let run = Regex::new(RUN).unwrap();
        let [told, ours] = [told, shown].map(|text| run.find_iter(text).map(|id| id.as_str().to_owned()));
        self.runs.extend(told.zip(ours));
    }
}

/// The document with what the program says now in place of what it is said to say.
fn played(document: &str) -> String {
    let mut terminal = Terminal::open();
    let mut played = Vec::new();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let Some(typed) = line[indent..].strip_prefix(PROMPT) else {
            played.push(line.to_owned());
            continue;
        };
        played.push(format!("{}{}", &line[..indent + PROMPT.len()], terminal.with_runs(typed, str::len)));
        let mut told = Vec::new();
        while let Some(line) = lines.next_if(|line| !ends_an_output(line)) {
            told.push(line.get(indent..).unwrap_or_default());
        }
        let shown = terminal.types(typed);
        terminal.learns_runs(&told.join("\n"), &shown);
        let shown = abridged(&told, shown.lines().collect());
        played.extend(shown.iter().map(|line| format!("{}{line}", &line_start(indent, line))));
    }
    played.join("\n") + "\n"
}

fn ends_an_output(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(PROMPT) || line.starts_with(FENCE)
}

/// An empty line is not indented.
fn line_start(indent: usize, line: &str) -> String {
    if line.is_empty() { String::new() } else { " ".repeat(indent) }
}

/// As many lines as the document has before and after its ellipsis, if it has one.
fn abridged<'a>(told: &[&str], mut shown: Vec<&'a str>) -> Vec<&'a str> {
    if let Some(before) = told.iter().position(|line| *line == ELLIPSIS) {
        let after = shown.len().saturating_sub(told.len() - before - 1);
        shown.splice(before.min(after)..after, [ELLIPSIS]);
    }
    shown
}

/// What differs each time, the same for all.
fn masked(document: &str) -> Vec<String> {
    let patterns = [
        (RUN, "RUN"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\d{4}-\d\d-\d\d", "DATE"),
        (r"\d+(\.\d+)?/s", "RATE"),
        // A run is interrupted after more VMs or fewer.
        (r"since the last resume \d+ calls?", "since the last resume CALLS"),
        (r"\d+(\.\d+)? (ms|s)\b", "SPAN"),
        // A column is as wide as its widest cell.
        (r" +", " "),
        ("─+", "─"),
    ];
    let patterns = patterns.map(|(pattern, word)| (Regex::new(pattern).unwrap(), word));
    let number = Regex::new(r"\d+").unwrap();
    let mask = |line: &str| {
        let line = patterns
            .iter()
            .fold(line.to_owned(), |line, (pattern, word)| pattern.replace_all(&line, *word).into_owned());
        if line.starts_with("Stopped (interrupted)") {
            number.replace_all(&line, "N").into_owned()
        } else {
            line
        }
    };
    document.lines().map(mask).collect()
}

/// With `UPDATE_DOCS` in the environment it writes what the program says instead, where that is something else.
fn stays_so(path: &Path) {
    let document = read(path);
    let played = played(&document);
    let (told, said) = (masked(&document), masked(&played));
    let Some(line) = (0..told.len().max(said.len())).find(|line| told.get(*line) != said.get(*line)) else {
        return;
    };
    if is_being_updated() {
        return fs::write(path, played).unwrap();
    }
    let said = played.lines().skip(line.saturating_sub(3)).take(30).collect::<Vec<_>>().join("\n");
    panic!("{}:{}: outdated; `make docs` brings it up to date:\n{said}", path.display(), line + 1);
}

#[test]
fn every_example_is_what_the_program_says() {
    if !has("curl") {
        return;
    }
    let has_examples = |path: &Path| read(path).lines().any(|line| line.trim_start().starts_with(PROMPT));
    let documents: Vec<_> = documents().into_iter().filter(|path| has_examples(path)).collect();
    assert!(documents.len() >= 5, "{documents:?}");
    std::thread::scope(|scope| {
        for document in &documents {
            scope.spawn(|| stays_so(document));
        }
    });
}
