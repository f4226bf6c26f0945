//! The event `run ended`: how a job ended, for logs and for chat programs. It has nothing of any one VM but its id.

use serde::Serialize;

use crate::dialect::Dialect;
use crate::ledger::{Counts, RunInfo, Summary};
use crate::outcome::Kind;
use crate::stop::Stop;
use crate::text::count;

use super::advice::by_weight;
use super::recap;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunEnded {
    event: &'static str,
    /// `None` where none was begun.
    pub run: Option<String>,
    #[serde(flatten)]
    pub course: Option<EndedCourse>,
    pub stopped_by: Option<Stop>,
    pub exit_code: u8,
    /// The machine that it ended on.
    pub host: String,
    /// The command that goes on with it, where something is left to do.
    pub resume: Option<String>,
    /// What was wrong, where the job did not come to its end, or something failed after that.
    pub error: Option<String>,
    /// The lines that people are told, but for the last ones.
    #[serde(skip)]
    says: String,
}

/// What came of a run that has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndedCourse {
    pub kind: Kind,
    pub base_url: String,
    #[serde(rename = "api")]
    pub dialect: Dialect,
    #[serde(flatten)]
    pub counts: Counts,
    pub skipped: u64,
    /// `None` where there is no run to compare it with.
    pub newly_failing: Option<u64>,
    pub calls: u64,
    pub duration_s: f64,
    /// Of the calls, those in that time.
    pub calls_in_duration: u64,
}

impl RunEnded {
    /// Of a run that came to its end, or was stopped, on `host`; `resume` is the command that goes on with it.
    pub fn of(run: &RunInfo, summary: &Summary, host: &str, resume: Option<&str>) -> Self {
        let course = EndedCourse {
            kind: run.kind,
            base_url: run.base_url.clone(),
            dialect: run.dialect,
            counts: summary.counts,
            skipped: summary.skipped,
            newly_failing: summary.since.as_ref().map(|since| since.newly_failing.vms),
            calls: summary.calls,
            duration_s: summary.duration_s,
            calls_in_duration: summary.calls_in_duration,
        };
        let exit_code = summary.exit_code;
        let go_on = resume.map(|command| format!("Go on: {command}\n")).unwrap_or_default();
        let text = format!("{}{}{go_on}", recap::head(run, summary), failures(summary));
        Self {
            run: Some(run.id.clone()),
            course: Some(course),
            stopped_by: summary.stopped_by,
            resume: resume.map(str::to_owned),
            ..Self::new(exit_code, host, text)
        }
    }

    /// The same, where something failed once the run was over: `error` says what.
    #[must_use]
    pub fn failing(self, exit_code: u8, error: &str) -> Self {
        let says = format!("{}Then: {}\n", self.says, first_line(error));
        Self { exit_code, error: Some(error.to_owned()), says, ..self }
    }

    /// Of a job that was refused, or broken off, on `host`; `run` is the one that it had begun.
    pub fn without_end(run: Option<&str>, exit_code: u8, host: &str, error: &str) -> Self {
        let what = run.map_or_else(|| "A run was not begun".to_owned(), |run| format!("Run {run} broke off"));
        let text = format!("{what}: {}\n", first_line(error));
        Self {
            run: run.map(str::to_owned),
            error: Some(error.to_owned()),
            ..Self::new(exit_code, host, text)
        }
    }

    /// `says` is whole lines.
    fn new(exit_code: u8, host: &str, says: String) -> Self {
        Self {
            event: "run ended",
            run: None,
            course: None,
            stopped_by: None,
            exit_code,
            host: host.to_owned(),
            resume: None,
            error: None,
            says,
        }
    }

    /// For people, in a chat program.
    fn text(&self) -> String {
        let Self { says, host, exit_code, .. } = self;
        harmless(&format!("v6fleet: {says}Host: {host}\nExit code {exit_code}"))
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        super::json::line(&Told { event: self, text: self.text() })
    }
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    event: &'a RunEnded,
    text: String,
}

/// It may quote an inventory: no more of it than says what is wrong, and no link.
fn first_line(error: &str) -> String {
    error.lines().next().unwrap_or_default().replace("://", "：//")
}

/// `Failed: 5 forbidden, 55 not_attempted`: how many of each kind, in words of our own.
fn failures(summary: &Summary) -> String {
    let kinds = by_weight(&summary.failures);
    let kinds: Vec<_> = kinds.iter().map(|kind| format!("{} {}", count(kind.vms), kind.failure)).collect();
    if kinds.is_empty() { String::new() } else { format!("Failed: {}\n", kinds.join(", ")) }
}

/// Chat programs make mentions, links and commands of some characters: these stand for them.
fn harmless(text: &str) -> String {
    let wide = |c: char| match c {
        '<' => '＜',
        '>' => '＞',
        '&' => '＆',
        '@' => '＠',
        '[' => '［',
        ']' => '］',
        '`' => '｀',
        other => other,
    };
    text.chars().map(wide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Named, Since};
    use crate::report::fixtures::{plan, plan_summary, rows, run, summary};

    #[test]
    fn a_run_that_ended_is_told_with_its_counts_and_what_fails_newly() {
        let named = |vms| Named { vms, examples: vec!["10010".into()] };
        let since =
            Since { run: "20261122T021500Z-0001".into(), newly_failing: named(1), recovered: named(0) };
        let summary = Summary { since: Some(since), ..summary(&rows()) };
        insta::assert_snapshot!(RunEnded::of(&run(), &summary, "host-a", None).json().unwrap(), @r#"{"event":"run ended","run":"20261123T021500Z-7f3a","kind":"run","base_url":"https://cloud.hostup.se","api":"v1","selected":20,"created":2,"unchanged":2,"updated":2,"failed":14,"not_attempted":1,"skipped":0,"newly_failing":1,"calls":71,"duration_s":6.3,"calls_in_duration":71,"stopped_by":null,"exit_code":3,"host":"host-a","resume":null,"error":null,"text":"v6fleet: Complete: 20 VMs, 2 created, 2 unchanged, 2 updated, 14 failed, 1 of them not attempted\nRun 20261123T021500Z-7f3a: allocate, https://cloud.hostup.se\nNewly failing since 20261122T021500Z-0001: 1 VM: 10010\nRecovered since 20261122T021500Z-0001: none\nFailed: 1 rejected, 1 unauthorized, 1 forbidden, 1 not_found, 1 conflict, 1 rate_limited, 1 server_error, 1 timeout, 1 connect, 1 tls, 1 redirected, 1 malformed_answer, 1 refused_by_api, 1 not_attempted\nHost: host-a\nExit code 3"}"#);
    }

    #[test]
    fn a_run_that_can_be_gone_on_with_is_told_with_the_command_and_where() {
        let command = "v6fleet resume 20261123T021500Z-7f3a --ledger postgres://ops@db/v6fleet";
        let event = RunEnded::of(&run(), &summary(&rows()), "host-a", Some(command));
        assert_eq!(event.resume.as_deref(), Some(command));
        let end = "\nGo on: v6fleet resume 20261123T021500Z-7f3a --ledger postgres://ops＠db/v6fleet\nHost: host-a\nExit code 3";
        assert!(event.text().ends_with(end), "{}", event.text());
    }

    #[test]
    fn a_run_of_which_a_report_could_not_be_written_is_told_with_its_counts_and_that() {
        let event = RunEnded::of(&run(), &summary(&rows()), "host-a", None).failing(1, "a.csv: full\nGo on");
        let told: serde_json::Value = serde_json::from_str(&event.json().unwrap()).unwrap();
        assert_eq!((&told["created"], &told["exit_code"]), (&2.into(), &1.into()));
        assert_eq!(told["error"], "a.csv: full\nGo on");
        let text = told["text"].as_str().unwrap();
        assert!(text.starts_with("v6fleet: Complete: 20 VMs, 2 created, "), "{text}");
        assert!(text.ends_with("\nThen: a.csv: full\nHost: host-a\nExit code 1"), "{text}");
    }

    #[test]
    fn a_plan_that_ended_is_told_with_counts_of_its_own() {
        insta::assert_snapshot!(RunEnded::of(&plan(), &plan_summary(), "host-a", None).json().unwrap(), @r#"{"event":"run ended","run":"20261123T020000Z-91c2","kind":"plan","base_url":"https://cloud.hostup.se","api":"v2","selected":10,"create":3,"update":1,"keep":1,"blocked":3,"failed":2,"not_attempted":1,"skipped":0,"newly_failing":null,"calls":14,"duration_s":6.3,"calls_in_duration":14,"stopped_by":null,"exit_code":3,"host":"host-a","resume":null,"error":null,"text":"v6fleet: Complete: 10 of 20 VMs, 3 to create, 1 to update, 1 to keep, 3 blocked, 2 failed, 1 of them not attempted\nPlan 20261123T020000Z-91c2: allocate, https://cloud.hostup.se (v2); nothing was changed\nFailed: 1 not_found, 1 not_attempted\nHost: host-a\nExit code 3"}"#);
    }

    #[test]
    fn a_job_that_was_refused_or_broken_off_is_told_with_the_error() {
        let refused = RunEnded::without_end(
            None,
            2,
            "host-a",
            "a<!channel>.csv:2: vmid: not a number: \"[x](http://e) @all\"\nanother row",
        );
        insta::assert_snapshot!(refused.json().unwrap(), @r#"{"event":"run ended","run":null,"stopped_by":null,"exit_code":2,"host":"host-a","resume":null,"error":"a<!channel>.csv:2: vmid: not a number: \"[x](http://e) @all\"\nanother row","text":"v6fleet: A run was not begun: a＜!channel＞.csv:2: vmid: not a number: \"［x］(http：//e) ＠all\"\nHost: host-a\nExit code 2"}"#);
        let broken = RunEnded::without_end(Some("20261123T021500Z-7f3a"), 1, "host-a", "the disk is full");
        insta::assert_snapshot!(broken.json().unwrap(), @r#"{"event":"run ended","run":"20261123T021500Z-7f3a","stopped_by":null,"exit_code":1,"host":"host-a","resume":null,"error":"the disk is full","text":"v6fleet: Run 20261123T021500Z-7f3a broke off: the disk is full\nHost: host-a\nExit code 1"}"#);
    }
}
