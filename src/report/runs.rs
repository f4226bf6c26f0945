//! The list of runs: a table for people, or a few lines a run where that has no room; an object for programs.

use std::path::Path;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use super::api::api;
use super::counts::{in_words, word};
use super::json;
use super::selection::selection;
use crate::ledger::{Counts, Overview};
use crate::outcome::{Kind, Outcome};
use crate::text::{count, counted, duration, escape, excerpt, moment_for_people};

/// Characters of one text from outside.
const TEXT: usize = 60;

/// The list, ending in a line break; of a terminal, `columns` says how wide that is. Where the runs called more than one API, it
/// names each one's.
pub fn text(runs: &[Overview], columns: Option<usize>) -> String {
    if runs.is_empty() {
        return "No run.\n".to_owned();
    }
    let several = runs.iter().any(|run| named(run) != named(&runs[0]));
    let table = table(runs, several);
    let width = table.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    match columns.is_some_and(|columns| width > columns) {
        true => runs.iter().map(|run| lines(run, several)).collect(),
        false => table,
    }
}

fn named(run: &Overview) -> String {
    api(&run.base_url, run.dialect)
}

/// What the table says of a run, one thing a line.
fn lines(run: &Overview, several: bool) -> String {
    let api = if several { format!(" at {}", excerpt(&named(run), TEXT)) } else { String::new() };
    let took = took(run).map(|took| format!(", took {took}")).unwrap_or_default();
    let (id, what, counts, ending) = (escape(&run.id), what(run), in_words(&run.counts), ending(run));
    format!("{id}\n  {what}{api}\n  {counts}\n  {ending}{took}\n")
}

fn took(run: &Overview) -> Option<String> {
    run.ended_at.map(|end| duration(end.duration_since(run.started_at).as_secs_f64()))
}

fn table(runs: &[Overview], several: bool) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─')));
    let called = several.then_some("API");
    let columns = ["Run", "Started", "Took", "What"].into_iter().chain(called);
    let first_count = 4 + usize::from(several);
    let not_attempted = runs.iter().any(|run| run.counts.not_attempted > 0).then_some("not attempted");
    let outcomes = outcomes(runs);
    let counts = ["VMs"].into_iter().chain(outcomes.iter().map(|outcome| word(*outcome)));
    table.set_header(columns.chain(counts).chain(not_attempted).chain(["Ended"]));
    for run in runs {
        let own = [
            escape(&run.id).into_owned(),
            moment_for_people(run.started_at),
            took(run).unwrap_or_default(),
            what(run),
        ];
        let api = several.then(|| excerpt(&named(run), TEXT));
        let never = not_attempted.map(|_| count(run.counts.not_attempted));
        let counts = outcomes.iter().map(|outcome| of(&run.counts, *outcome));
        let counts = [count(run.counts.selected)].into_iter().chain(counts).chain(never);
        table.add_row(own.into_iter().chain(api).chain(counts).chain([ending(run)]));
    }
    let last_count = first_count + outcomes.len() + usize::from(not_attempted.is_some());
    for column in [2].into_iter().chain(first_count..=last_count) {
        if let Some(numbers) = table.column_mut(column) {
            numbers.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// Those that there can be in one of the runs: a plan has its own.
fn outcomes(runs: &[Overview]) -> Vec<Outcome> {
    let can_be = |outcome: &Outcome| runs.iter().any(|run| run.kind.outcomes().contains(outcome));
    Outcome::ALL.iter().copied().filter(can_be).collect()
}

/// Nothing where there can be no such outcome.
fn of(counts: &Counts, outcome: Outcome) -> String {
    let vms = counts.by_outcome().find(|(own, _)| *own == outcome);
    vms.map_or_else(String::new, |(_, vms)| count(vms))
}

/// The object, on one line.
pub fn json(runs: &[Overview]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Object<'a> {
        schema: &'a str,
        runs: &'a [Overview],
    }
    json::line(&Object { schema: "v6fleet.runs/1", runs })
}

/// What a run was to do.
pub(super) fn what(run: &Overview) -> String {
    let file = run.inventory.first().map(|file| file.path.as_str()).unwrap_or_default();
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy());
    let name = excerpt(name.as_deref().unwrap_or(file), TEXT);
    let files = match run.inventory.len().saturating_sub(1) as u64 {
        0 => name,
        more => format!("{name} and {}", counted(more, "more file", "more files")),
    };
    let what = match run.action {
        Some(action) if run.kind == Kind::Plan => format!("plan to {action} {files}"),
        None if run.kind == Kind::Plan => format!("plan {files}, its own actions"),
        Some(action) => format!("{action} {files}"),
        None => format!("{files}, its own actions"),
    };
    match selection(&run.options, run.counts.selected, run.inventory_vms) {
        Some(selection) => format!("{what}, {selection}"),
        None => what,
    }
}

/// How a run ended, in the words of `stopped_by`.
pub(super) fn ending(run: &Overview) -> String {
    let end = match (run.stopped_by, run.complete) {
        _ if run.running => "running".to_owned(),
        (Some(stop), _) => format!("stopped: {stop}"),
        (None, true) => "complete".to_owned(),
        (None, false) => "not finished".to_owned(),
    };
    if run.pinned { format!("{end}, pinned") } else { end }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::inventory::InventoryFile;
    use crate::stop::Stop;
    use crate::vm::Action;

    pub(in crate::report) fn overview(id: &str, started_at: &str) -> Overview {
        Overview {
            id: id.into(),
            kind: Kind::Run,
            base_url: "https://cloud.hostup.se".into(),
            dialect: Dialect::V1,
            action: Some(Action::Allocate),
            inventory: vec![InventoryFile { path: "/etc/v6fleet/fleet.csv".into(), sha256: "00ff".into() }],
            inventory_vms: Some(6_000),
            options: serde_json::Map::default(),
            started_at: started_at.parse().unwrap(),
            ended_at: None,
            resumes: 0,
            counts: Counts {
                selected: 6_000,
                created: 1,
                unchanged: 5_990,
                updated: 2,
                failed: 7,
                ..Counts::default()
            },
            complete: false,
            running: false,
            stopped_by: None,
            exit_code: None,
            pinned: false,
        }
    }

    fn runs() -> Vec<Overview> {
        let on = overview("20261124T021500Z-0003", "2026-11-24T02:15:00Z");
        let ended = Some("2026-11-23T02:25:12Z".parse().unwrap());
        let stopped = Overview {
            ended_at: ended,
            stopped_by: Some(Stop::MaxFailed),
            exit_code: Some(4),
            action: None,
            ..overview("20261123T021500Z-0002", "2026-11-23T02:15:00Z")
        };
        let file = |path: &str| InventoryFile { path: path.into(), sha256: String::new() };
        let complete = Overview {
            ended_at: ended,
            complete: true,
            pinned: true,
            exit_code: Some(3),
            inventory: vec![file("a\u{1b}[2J.csv"), file("b.csv"), file("-")],
            ..overview("20261123T020000Z-0001", "2026-11-23T02:00:00Z")
        };
        vec![on, stopped, complete]
    }

    #[test]
    fn each_run_is_a_line_that_says_how_it_ended() {
        insta::assert_snapshot!(text(&runs(), None), @r"
         Run                    Started                      Took  What                                        VMs  created  unchanged  updated  failed  Ended
        ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
         20261124T021500Z-0003  2026-11-24 02:15:00Z               allocate fleet.csv                        6,000        1      5,990        2       7  not finished
         20261123T021500Z-0002  2026-11-23 02:15:00Z  10 min 12 s  fleet.csv, its own actions                6,000        1      5,990        2       7  stopped: max_failed
         20261123T020000Z-0001  2026-11-23 02:00:00Z  25 min 12 s  allocate a\u{1b}[2J.csv and 2 more files  6,000        1      5,990        2       7  complete, pinned
        ");
        assert_eq!(text(&[], None), "No run.\n");
    }

    #[test]
    fn on_a_terminal_without_room_for_the_table_each_run_has_a_few_lines() {
        let runs = runs();
        let table = text(&runs, None);
        let width = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert_eq!(text(&runs, Some(width)), table);
        insta::assert_snapshot!(text(&runs, Some(width - 1)), @r"
        20261124T021500Z-0003
          allocate fleet.csv
          6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          not finished
        20261123T021500Z-0002
          fleet.csv, its own actions
          6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          stopped: max_failed, took 10 min 12 s
        20261123T020000Z-0001
          allocate a\u{1b}[2J.csv and 2 more files
          6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          complete, pinned, took 25 min 12 s
        ");
    }

    #[test]
    fn where_more_than_one_api_was_called_each_is_named() {
        let mut runs = runs();
        let every_width = [None, Some(80)];
        assert!(every_width.iter().all(|columns| !text(&runs, *columns).contains("cloud.hostup.se")));
        runs[1].base_url = "https://staging.example".into();
        for text in every_width.map(|columns| text(&runs, columns)) {
            assert!(text.contains("cloud.hostup.se") && text.contains("staging.example"), "{text}");
        }
    }

    #[test]
    fn plans_have_counts_of_their_own_beside_those_of_runs() {
        let counts = Counts {
            kind: Kind::Plan,
            selected: 6_000,
            create: 900,
            keep: 5_040,
            blocked: 60,
            ..Counts::default()
        };
        let plan =
            Overview { kind: Kind::Plan, dialect: Dialect::V2, counts, complete: true, ..runs()[1].clone() };
        insta::assert_snapshot!(text(&[runs().remove(0), plan], None));
    }

    #[test]
    fn for_programs_it_is_one_object() {
        insta::assert_snapshot!(json(&runs()[2..]).unwrap(), @r#"{"schema":"v6fleet.runs/1","runs":[{"id":"20261123T020000Z-0001","kind":"run","base_url":"https://cloud.hostup.se","api":"v1","action":"allocate","inventory":[{"path":"a\u001b[2J.csv","sha256":""},{"path":"b.csv","sha256":""},{"path":"-","sha256":""}],"inventory_vms":6000,"started_at":"2026-11-23T02:00:00.000000Z","ended_at":"2026-11-23T02:25:12.000000Z","resumes":0,"selected":6000,"created":1,"unchanged":5990,"updated":2,"failed":7,"not_attempted":0,"complete":true,"running":false,"stopped_by":null,"exit_code":3,"pinned":true}]}"#);
    }
}
