//! One run in every format: each is read as its users read it, and all of them tell the same.

use std::collections::{BTreeMap, BTreeSet};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus};
use serde_json::{Value, json};
use v6fleet::outcome::{Failure, Kind};
use v6fleet::report::{FileFormat, Format};

use crate::answers::{found, made, problem, refused, success_updated_now};
use crate::dialect::Dialect::V1;
use crate::fixture::{self, Fixture};
use crate::sandbox::{Sandbox, Transport};
use crate::script::{Api, Step, answer, error, json_answer};

/// A name that is a row, a cell and a formula of its own wherever it is not taken for a text.
const NAME: &str = r#""=1,""2"" <tr class=""failed""><th scope=""row"">9<td>""#;

/// What one format says of a run.
#[derive(Debug)]
struct Account {
    outcomes: BTreeMap<String, u64>,
    /// Only those that there are.
    failures: BTreeMap<String, u64>,
    drifted: u64,
    skipped: Option<u64>,
    pending: Option<u64>,
    vms: Option<BTreeMap<String, Verdict>>,
}

/// What a row says of its VM.
#[derive(Debug, PartialEq)]
struct Verdict {
    outcome: String,
    /// Empty where it did not fail.
    failure: String,
    drifted: bool,
}

impl Account {
    fn of_rows(rows: impl Iterator<Item = (String, Verdict)>) -> Self {
        let mut vms = BTreeMap::new();
        let mut outcomes: BTreeMap<_, _> =
            Kind::Run.outcomes().iter().map(|word| (word.to_string(), 0)).collect();
        let mut failures = BTreeMap::new();
        for (vmid, verdict) in rows {
            *outcomes.get_mut(&verdict.outcome).unwrap() += 1;
            if !verdict.failure.is_empty() {
                *failures.entry(verdict.failure.clone()).or_default() += 1;
            }
            assert!(vms.insert(vmid, verdict).is_none(), "a VM has two rows");
        }
        let drifted = vms.values().filter(|verdict| verdict.drifted).count() as u64;
        Self { outcomes, failures, drifted, skipped: None, pending: None, vms: Some(vms) }
    }

    /// Of a format, or a part of one, that knows no rows.
    fn of_counts(outcome: impl Fn(&str) -> u64, failures: BTreeMap<String, u64>, drifted: u64) -> Self {
        let outcomes =
            Kind::Run.outcomes().iter().map(|word| (word.to_string(), outcome(word.as_str()))).collect();
        Self { outcomes, failures, drifted, skipped: None, pending: None, vms: None }
    }

    #[track_caller]
    fn assert_agrees(&self, other: &Self, which: &str) {
        assert_eq!(self.outcomes, other.outcomes, "{which}");
        assert_eq!(self.failures, other.failures, "{which}");
        assert_eq!(self.drifted, other.drifted, "{which}");
        assert!(agree(self.skipped.as_ref(), other.skipped.as_ref()), "{which}: {self:?} {other:?}");
        assert!(agree(self.pending.as_ref(), other.pending.as_ref()), "{which}: {self:?} {other:?}");
        assert!(agree(self.vms.as_ref(), other.vms.as_ref()), "{which}: {self:?} {other:?}");
    }
}

/// Whether two say the same, where both say anything.
fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

fn rows_of_csv(report: &str) -> Account {
    let mut csv = csv::Reader::from_reader(report.as_bytes());
    let columns = csv.headers().unwrap().clone();
    let column = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let [vmid, outcome, failure, drift] = ["vmid", "outcome", "failure", "drift"].map(column);
    Account::of_rows(csv.records().map(Result::unwrap).map(|cells| {
        let cell = |column: usize| cells[column].to_owned();
        let drifted = !cells[drift].is_empty();
        (cell(vmid), Verdict { outcome: cell(outcome), failure: cell(failure), drifted })
    }))
}

fn rows_of_json<'a>(rows: impl Iterator<Item = &'a Value>) -> Account {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Account::of_rows(rows.map(|row| {
        let drifted = !row["drift"].as_array().unwrap().is_empty();
        (
            word(&row["vmid"]),
            Verdict { outcome: word(&row["outcome"]), failure: word(&row["failure"]), drifted },
        )
    }))
}

fn summary_of_json(summary: &Value) -> Account {
    let number = |name: &str| summary[name].as_u64().unwrap();
    let failure =
        |count: &Value| (count["failure"].as_str().unwrap().to_owned(), count["vms"].as_u64().unwrap());
    let failures = summary["failures"].as_array().unwrap().iter().map(failure).collect();
    let (skipped, pending) = (Some(number("skipped")), Some(number("pending")));
    Account { skipped, pending, ..Account::of_counts(number, failures, number("drifted")) }
}

/// The test cases; the counts above them are checked here.
fn cases_of_junit(report: &str) -> Account {
    let report = quick_junit::Report::deserialize_from_str(report).unwrap();
    let cases: Vec<&TestCase> = report.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
    let account = Account::of_rows(cases.iter().map(|case| {
        let told = case.system_out.as_ref().unwrap().as_str();
        let outcome = told.split(':').next().unwrap().to_owned();
        let (failure, drifted) = match &case.status {
            TestCaseStatus::NonSuccess { kind: NonSuccessKind::Error, ty, .. } => {
                (ty.as_ref().unwrap().to_string(), false)
            }
            TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, .. } => (String::new(), true),
            status => (String::new(), !matches!(status, TestCaseStatus::Success { .. })),
        };
        (case.name.to_string(), Verdict { outcome, failure, drifted })
    }));
    let head = [report.tests, report.errors, report.failures].map(|count| count as u64);
    assert_eq!(head, [cases.len() as u64, account.outcomes["failed"], account.drifted]);
    account
}

fn rows_of_html(page: &str) -> Account {
    let (_, table) = page.split_once("<table class=\"vms\">").unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    Account::of_rows(table.split("<tr class=\"").skip(1).map(|row| {
        let cells: Vec<&str> = row.trim_end().trim_end_matches("</tr>").split("<td>").collect();
        let (class, vmid) = cells[0].split_once("\"><th scope=\"row\">").unwrap();
        let outcome = cells[3].to_owned();
        assert_eq!(class.split(' ').next(), Some(cells[3]), "{row}");
        let notes: Vec<&str> = cells[4].split("<p>").skip(1).collect();
        let kind = notes.first().and_then(|note| note.split([' ', ':', '<']).next());
        let failure = kind.filter(|_| outcome == "failed").unwrap_or_default().to_owned();
        let drifted = notes.iter().any(|note| note.starts_with("drift: "));
        (vmid.to_owned(), Verdict { outcome, failure, drifted })
    }))
}

/// What the page says above its table.
fn head_of_html(page: &str) -> Account {
    let outcome = |word: &str| number_before(page, &format!("</b> {word}")).unwrap();
    let failure = |heading: &str| {
        let (kind, vms) = heading.split_once("</h3>").unwrap().0.split_once(": ").unwrap();
        (kind.to_owned(), number_before(vms, " VM").unwrap())
    };
    let failures = page.split("<h3>").skip(1).map(failure).collect();
    Account {
        skipped: Some(number_before(page, " skipped, and not called").unwrap_or(0)),
        pending: Some(number_before(page, " not settled yet").unwrap_or(0)),
        ..Account::of_counts(outcome, failures, outcome("drifted"))
    }
}

fn samples_of_prometheus(report: &str) -> Account {
    let samples = |metric: &str, label: &str| -> BTreeMap<String, u64> {
        let start = format!("v6fleet_{metric}{{");
        let lines = report.lines().filter_map(|line| line.strip_prefix(&start)?.rsplit_once("} "));
        let sample = |(labels, value): (&str, &str)| {
            let kind = labels.split_once(&format!("{label}=\"")).map_or("", |(_, rest)| rest);
            let count = value.strip_suffix(".0").unwrap().parse().unwrap();
            (kind.trim_end_matches('"').to_owned(), count)
        };
        lines.map(sample).collect()
    };
    let failures = samples("failed_vms", "failure");
    assert!(failures.keys().map(String::as_str).eq(set(Failure::ALL.iter().map(|kind| kind.as_str()))));
    let failures = failures.into_iter().filter(|(_, vms)| *vms > 0).collect();
    let outcomes = samples("vms", "outcome");
    Account::of_counts(|word| outcomes[word], failures, samples("drifted_vms", "none")[""])
}

fn recap_in_text(recap: &str) -> Account {
    let first = recap.lines().next().unwrap();
    let outcome = |word: &str| number_before(first, &format!(" {word}")).unwrap();
    let (_, failures) = recap.split_once("\nFailed\n").unwrap();
    let kinds = failures.lines().take_while(|line| !line.is_empty());
    let kinds = kinds.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let failure = |line: &str| {
        let (kind, vms) = line.split_once(": ").unwrap();
        (kind.to_owned(), number_before(vms, " VM").unwrap())
    };
    Account {
        skipped: Some(number_before(recap, " skipped, and not called").unwrap_or(0)),
        ..Account::of_counts(
            outcome,
            kinds.map(failure).collect(),
            number_before(recap, " drifted from").unwrap_or(0),
        )
    }
}

/// The last number of the line before a text; `None` where there is neither.
fn number_before(text: &str, marker: &str) -> Option<u64> {
    let line = text.split_once(marker)?.0.lines().last()?;
    let numbers = line.split(|c: char| !c.is_ascii_digit() && c != ',').map(|digits| digits.replace(',', ""));
    numbers.filter_map(|digits| digits.parse().ok()).next_back()
}

fn set<'a>(words: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    words.collect()
}

fn accounts(format: Format, report: &str) -> Vec<(&'static str, Account)> {
    match format {
        Format::Csv => vec![("CSV", rows_of_csv(report))],
        Format::Json => {
            let report: Value = serde_json::from_str(report).unwrap();
            fixture::assert_valid(&report, "report.schema.json");
            let rows = report["vms"].as_array().unwrap();
            vec![
                ("JSON's rows", rows_of_json(rows.iter())),
                ("JSON's summary", summary_of_json(&report["summary"])),
            ]
        }
        Format::JsonLines => {
            let rows: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            vec![("JSON Lines", rows_of_json(rows.iter()))]
        }
        Format::Html => vec![("HTML's rows", rows_of_html(report)), ("HTML's head", head_of_html(report))],
        Format::Junit => vec![("JUnit", cases_of_junit(report))],
        Format::Prometheus => vec![("Prometheus", samples_of_prometheus(report))],
    }
}

/// Runs `args` with every format for output, and compares all that they and the recaps say, each with each.
fn told_by_all(fixture: &Fixture, args: &[&str], exit_code: i32) -> Account {
    let files = Format::ALL.iter().map(|(_, extension)| format!("all{extension}")).collect::<Vec<_>>();
    let outputs = files.iter().flat_map(|file| ["-o", file]);
    let outcome = fixture.run(&args.iter().copied().chain(outputs).collect::<Vec<_>>()).exits(exit_code);
    let recap = fixture.run(&["report", "--format", "json"]).exits(0);
    let recap: Value = serde_json::from_str(&recap.stdout).unwrap();
    let mut all: Vec<_> = Format::ALL
        .iter()
        .zip(&files)
        .flat_map(|((format, _), file)| accounts(*format, &fixture.read(file)))
        .collect();
    all.push(("the recap in text", recap_in_text(&outcome.stdout)));
    all.push(("the recap in JSON", summary_of_json(&recap["summary"])));
    for (at, (one, account)) in all.iter().enumerate() {
        for (other, another) in &all[..at] {
            account.assert_agrees(another, &format!("{one} and {other}"));
        }
    }
    all.pop().unwrap().1
}

/// How a VM comes to fail in one way or another.
enum Cause {
    Answer(fn() -> Step),
    /// It ends the run, and so comes last.
    Last(fn() -> Step),
    AfterTheLast,
    /// No server that answers can be the cause.
    NoAnswer,
}

fn cause(failure: Failure) -> Cause {
    match failure {
        Failure::Rejected => Cause::Answer(|| problem(422, "invalid_request").into()),
        Failure::Unauthorized => Cause::Answer(|| error(401, "UNAUTHORIZED").into()),
        Failure::Forbidden => Cause::Answer(|| error(403, "FORBIDDEN").into()),
        Failure::NotFound => Cause::Answer(|| error(404, "NOT_FOUND").into()),
        Failure::Conflict => Cause::Answer(|| error(409, "NO_ALLOCATION").into()),
        Failure::ServerError => Cause::Answer(|| error(503, "UPSTREAM").into()),
        Failure::Timeout => Cause::Answer(|| Step::Stall(vec![])),
        Failure::Redirected => {
            Cause::Answer(|| answer(302, "text/html", "moved").header("location", "http://[::1]/").into())
        }
        Failure::MalformedAnswer => Cause::Answer(|| answer(200, "application/json", "{").into()),
        Failure::RefusedByApi => Cause::Answer(|| refused(V1, 200)),
        Failure::RateLimited => {
            Cause::Last(|| json_answer(429, &json!({"error": "e", "retryAfter": "3600"})).into())
        }
        Failure::NotAttempted => Cause::AfterTheLast,
        Failure::Connect | Failure::Tls => Cause::NoAnswer,
    }
}

/// A fleet of which the first VMs succeed, one, two and three of them in each way, and the others fail in every way.
fn answered(fixture: &Fixture) -> Api {
    let mut steps: Vec<fn() -> Step> = vec![|| made(V1), || found(V1), || found(V1)];
    steps.extend([(|| success_updated_now(V1)) as fn() -> Step; 3]);
    let causes: Vec<Cause> = Failure::ALL.iter().map(|&failure| cause(failure)).collect();
    steps.extend(causes.iter().filter_map(|cause| match cause {
        Cause::Answer(step) => Some(*step),
        Cause::Last(_) | Cause::AfterTheLast | Cause::NoAnswer => None,
    }));
    steps.extend(causes.iter().filter_map(|cause| match cause {
        Cause::Last(step) => Some(*step),
        Cause::Answer(_) | Cause::AfterTheLast | Cause::NoAnswer => None,
    }));
    let prefix = |vmid| if vmid == 10_001 { "2001:db8:9::/48" } else { "" };
    let vms = (10_000..).take(steps.len() + 3).map(|vmid| format!("{vmid},{NAME},{}\n", prefix(vmid)));
    fixture.write("fleet.csv", format!("vmid,name,prefix\nweb-1,no VM,\n{}", vms.collect::<String>()));
    Api::start(move |vmid, _| steps[vmid.parse::<usize>().unwrap() - 10_000]())
}

#[test]
fn every_format_says_the_same_of_every_outcome_and_every_failure() {
    let run = ["run", "fleet.csv", "--action", "allocate", "--concurrency", "1", "--rate", "none"];
    // While one call times out, no claim gets so old that its VM has to wait for another one: they are called in order.
    let run = [&run[..], &["--max-attempts", "1", "--timeout", "1s", "--max-wait", "1m"]].concat();
    let fixture = |base_url: &str| {
        let fixture = Fixture::new().env("V6FLEET_BASE_URL", base_url).env("HOSTUP_API_KEY", "a-key");
        fixture.write("fleet.csv", "vmid\n10000\n10001\n");
        fixture
    };

    let all = Fixture::new().env("HOSTUP_API_KEY", "a-key");
    let api = answered(&all);
    let all = all.env("V6FLEET_BASE_URL", &api.base_url());
    let answered = told_by_all(&all, &[&run[..], &["--skip-invalid"]].concat(), 5);
    assert_eq!((answered.skipped, answered.pending, answered.drifted), (Some(1), Some(4), 1));
    drop(all);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = told_by_all(&fixture(&format!("http://{closed}")), &run, 3);

    let unknown = Sandbox::speaking(Transport::Http2, &[]);
    let untrusted = told_by_all(&fixture(&unknown.base_url()), &run, 8);

    let runs = [answered, nobody, untrusted];
    let told = |counts: fn(&Account) -> &BTreeMap<String, u64>| {
        let counts = runs.iter().flat_map(counts).filter(|(_, vms)| **vms > 0);
        counts.map(|(word, _)| word.as_str()).collect::<BTreeSet<_>>()
    };
    assert_eq!(told(|run| &run.outcomes), set(Kind::Run.outcomes().iter().map(|word| word.as_str())));
    assert_eq!(told(|run| &run.failures), set(Failure::ALL.iter().map(|word| word.as_str())));
}

#[test]
fn a_format_may_be_named_before_any_file_and_before_standard_output() {
    let fixture = Fixture::new();
    let run = [
        "run",
        "inventories/demo.csv",
        "--sandbox",
        "--rate",
        "none",
        "-o",
        "csv:plain",
        "-o",
        "prom:junit:x",
    ];
    let outcome = fixture.run(&[&run[..], &["-o", "jsonl:-"]].concat()).exits(3);
    let of_file = csv::Reader::from_path(fixture.path("plain")).unwrap().records().count();
    let rows: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((of_file, rows.len()), (60, 60));
    assert!(fixture.read("junit:x").contains("v6fleet_vms"));
    assert!(
        outcome.stderr.contains("Complete: 60 VMs") && !outcome.stderr.contains(" -\n"),
        "{}",
        outcome.stderr
    );
    let again = fixture.run(&["report", "--sandbox", "-o", "csv:-", "--format", "json"]).exits(0);
    assert_eq!(again.stdout, fixture.read("plain"));
    assert!(again.stderr.contains("\"summary\":{\"selected\":60,"), "{}", again.stderr);
    // Here it is a file, which may be a log.
    let device = fixture.run(&["report", "--sandbox", "-o", "csv:/dev/stdout"]).exits(0);
    assert_eq!(device.stdout, fixture.read("plain"));
    assert!(device.stderr.contains("Complete: 60 VMs"), "{}", device.stderr);
    fixture.run(&["diff", "latest", "latest", "--sandbox", "-o", "csv:x"]).exits(0);
    assert!(fixture.path("x").exists());
    for (files, told) in [
        (&["csv:-", "json:-"][..], "standard output is one file, and takes one report"),
        (&["csv:x", "json:x"], "one file"),
        (&["xls:x"], "no known kind of report"),
        (&["csv:"], "no known kind of report"),
        (&["-"], "needs its format"),
        (&["csv:inventories/demo.csv"], "would take its place"),
    ] {
        let outputs = files.iter().flat_map(|file| ["-o", file]);
        let typed: Vec<&str> = run[..5].iter().copied().chain(outputs).collect();
        let refused = fixture.run(&typed).exits(2);
        assert!(refused.stderr.contains(told), "{files:?}: {}", refused.stderr);
    }
    let diff = fixture.run(&["diff", "latest", "latest", "--sandbox", "-o", "csv:-"]).exits(2);
    assert!(diff.stderr.contains("a comparison is written to a file"), "{}", diff.stderr);
}
