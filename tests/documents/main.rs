//! What the documentation says is what the program does: help, exit codes, columns, words and commands.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod examples;
mod links;
mod options;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use v6fleet::audit::Kind;
use v6fleet::check::Check;
use v6fleet::difference::Difference;
use v6fleet::outcome::{Basis, Failure, Outcome};
use v6fleet::stop::Stop;

const README: &str = "README.md";
const REPORTS: &str = "docs/reports.md";
const FENCE: &str = "```";

/// Runs the program on words as they would be typed, with nothing of this environment but `variables`.
fn v6fleet<'a>(words: impl IntoIterator<Item = &'a str>, variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_v6fleet"));
    // Clap asks a terminal for its width before it reads COLUMNS: none is there to be asked.
    command.env_clear().env("LANG", "C.UTF-8").env("COLUMNS", "100").stdin(Stdio::null());
    command.envs(variables.iter().copied()).args(words).output().unwrap()
}

fn stdout(words: &str) -> String {
    let output = v6fleet(words.split(' '), &[]);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Everything that is written for readers, as paths from here.
fn documents() -> Vec<PathBuf> {
    let entries = ["", "docs", "inventories"].map(|dir| {
        let entries = fs::read_dir(Path::new(".").join(dir)).unwrap();
        entries.map(move |entry| Path::new(dir).join(entry.unwrap().file_name()))
    });
    let is_document = |path: &PathBuf| path.extension().is_some_and(|end| end == "md");
    entries.into_iter().flatten().filter(is_document).collect()
}

/// Whether `make docs` asks: then what comes from the program is written, not compared.
fn is_being_updated() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

/// The text under a heading of a document, up to the next one of its level.
fn section(document: &str, heading: &str) -> String {
    let text = read(document);
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The texts between single backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The cells of a table's rows, without its header.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let cells = |line: &'_ str| line.trim_matches('|').split('|').count();
    text.lines()
        .filter(move |line| line.starts_with("| ") && cells(line) > 1)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// The commands in fenced blocks, as they are typed: without prompts, what is said of them and what follows a pipe.
fn commands(text: &str) -> Vec<&str> {
    let mut fenced = false;
    text.lines()
        .filter_map(|line| {
            fenced ^= line.trim_start().starts_with(FENCE);
            let line = line.trim_start().trim_start_matches("$ ");
            let command = line.split([';', '|', '&', '#', '<', '>']).next()?.split("  ").next()?.trim();
            (fenced && command.starts_with("v6fleet ")).then_some(command)
        })
        .collect()
}

#[test]
fn every_exit_code_of_the_readme_is_in_the_help_and_every_one_of_a_stop_in_the_readme() {
    let help = stdout("run --help");
    let (_, help) = help.split_once("Exit codes:").unwrap();
    let in_help: BTreeSet<&str> = help.split(|c: char| !c.is_ascii_digit()).collect();
    let section = section(README, "Exit codes");
    let codes: BTreeSet<&str> =
        rows(&section).map(|row| row[0]).filter(|code| code.parse::<u8>().is_ok()).collect();
    assert_eq!(codes.len(), 13);
    assert!(codes.is_subset(&in_help), "{codes:?} {in_help:?}");
    let words = quoted(&section);
    for stop in Stop::ALL {
        assert!(codes.contains(stop.exit_code().to_string().as_str()), "{stop}");
        assert!(words.contains(stop.as_str()), "{stop}");
    }
}

#[test]
fn every_word_of_a_report_is_explained() {
    let outcomes = section(REPORTS, "Outcomes");
    for basis in Basis::ALL {
        assert!(quoted(&outcomes).contains(basis.as_str()), "{basis}");
    }
    for outcome in Outcome::ALL {
        assert!(rows(&outcomes).any(|row| row[1].starts_with(outcome.as_str())), "{outcome}");
    }
    let failures = section(REPORTS, "Failures");
    let told: Vec<&str> = rows(&failures).skip(1).map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(told, Failure::ALL.iter().map(|failure| failure.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_kind_of_finding_is_explained() {
    let section = section("docs/audit.md", "The kinds of findings");
    let told: Vec<(&str, &str)> =
        rows(&section).skip(1).map(|row| (row[0].trim_matches('`'), row[1])).collect();
    let kinds = Kind::ALL.iter().map(|kind| (kind.as_str(), kind.severity().as_str()));
    assert_eq!(told, kinds.collect::<Vec<_>>());
}

#[test]
fn every_check_is_explained() {
    let section = section("docs/operations.md", "Before the night");
    let told: Vec<&str> = rows(&section).skip(1).map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(told, Check::ALL.iter().map(|check| check.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_difference_between_two_runs_is_explained() {
    let section = section("docs/looking-back.md", "What sets two runs apart");
    let told = rows(&section).skip(1).flat_map(|row| quoted(row[0])).collect::<Vec<_>>();
    let words = Difference::ALL.iter().map(|difference| difference.as_str());
    assert_eq!(told, words.collect::<Vec<_>>());
}

#[test]
fn every_column_of_a_report_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("v2.csv"), "vmid\nvps_01hxa3b0000000000000010000\n").unwrap();
    let plan = format!("plan {} --api v2 --action allocate", path("v2.csv").display());
    let header = |command: &str| {
        let words = command.split(' ').chain(["--sandbox", "--limit", "1", "--output-dir", "none"]);
        let output = v6fleet(
            words,
            &[("V6FLEET_LEDGER", &path("ledger.db")), ("V6FLEET_OUTPUT", &path("report.csv"))],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(path("report.csv")).unwrap().lines().next().unwrap().to_owned()
    };
    let headers = [header("run inventories/demo.csv"), header(&plan)];
    let header = headers.iter().flat_map(|header| header.split(','));
    let section = section(REPORTS, "Columns");
    let cells = rows(&section).skip(1).flat_map(|row| quoted(row[0]));
    let told: BTreeSet<&str> = cells.filter(|column| *column != "label.*").collect();
    let columns: BTreeSet<&str> = header.filter(|column| !column.starts_with("label.")).collect();
    assert_eq!(told, columns);
}

#[test]
fn every_command_in_a_document_is_one_that_the_program_takes() {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    let documents: Vec<String> = documents().iter().map(read).collect();
    let commands: Vec<&str> = documents.iter().flat_map(|document| commands(document)).collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let parsed = v6fleet::cli::command().try_get_matches_from(command.split_whitespace());
        let told = parsed.map(drop).map_err(|error| error.kind());
        assert!(matches!(told, Ok(()) | Err(DisplayHelp | DisplayVersion)), "{command}: {told:?}");
    }
}

#[test]
fn every_example_inventory_ends_with_the_exit_code_that_it_promises() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let variables = [
        ("V6FLEET_LEDGER", ledger.as_path()),
        ("V6FLEET_RATE", Path::new("none")),
        ("V6FLEET_OUTPUT_DIR", Path::new("none")),
    ];
    let readme = read("inventories/README.md");
    let mut told = BTreeSet::new();
    for row in rows(&readme).filter(|row| row.len() == 4 && row[2].starts_with('`')) {
        let command = row[2].trim_matches('`');
        let words: Vec<&str> = command.split(' ').collect();
        assert!(words[0] == "v6fleet" && words.contains(&"--sandbox"), "{command}");
        let output = v6fleet(words[1..].iter().copied(), &variables);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), row[3].parse().ok(), "{command}: {stderr}");
        told.insert(words[2].to_owned());
    }
    let files = fs::read_dir("inventories").unwrap().map(|entry| entry.unwrap().path());
    let inventories =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "csv" || kind == "json"));
    assert_eq!(told, inventories.map(|path| path.to_string_lossy().into_owned()).collect());
}

#[test]
fn the_manual_page_and_the_long_help_name_every_exit_code_file_and_variable() {
    let (page, help) = (stdout("man").replace("\\-", "-"), stdout("--help"));
    let section = section(README, "Exit codes");
    let codes = rows(&section).map(|row| row[0]).filter(|code| code.parse::<u8>().is_ok());
    for (heading, things) in [
        ("Exit status", codes.collect::<Vec<_>>()),
        ("Files", vec!["~/.config/v6fleet/config.toml", "~/.local/state/v6fleet/ledger.db"]),
        (
            "Environment",
            vec!["HOSTUP_API_KEY", "CREDENTIALS_DIRECTORY", "V6FLEET_OPTION", "LC_ALL, LC_CTYPE, LANG"],
        ),
    ] {
        let in_help = help.split_once(&format!("\n{}:\n", heading.replace("status", "codes"))).unwrap().1;
        let in_page = page.split_once(&format!(".SH \"{}\"\n", heading.to_uppercase()));
        let in_page = in_page.or_else(|| page.split_once(&format!(".SH {}\n", heading.to_uppercase())));
        let in_page = in_page.unwrap_or_else(|| panic!("{heading}: {page}")).1;
        for thing in things {
            assert!(
                in_help.contains(&format!("\n  {thing}")) || in_help.starts_with(&format!("  {thing}")),
                "{help}"
            );
            assert!(in_page.contains(&format!("\n\\fB{thing}\\fR\n")), "{thing}: {in_page}");
        }
    }
    assert!(!stdout("-h").contains("Exit codes"));
}

#[test]
fn the_manual_page_names_every_command() {
    let page = stdout("man");
    assert!(page.contains(".TH"), "{page}");
    for command in v6fleet::cli::command().get_subcommands() {
        let name = command.get_name().replace('-', "\\-");
        assert!(page.contains(&format!("v6fleet\\-{name}(1)")), "{name}: {page}");
    }
}
