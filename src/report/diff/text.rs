//! The comparison for people: how many differ in which way, and the first of each kind.

use std::fmt::Write;
use std::path::PathBuf;

use super::{DiffRow, Differences};
use crate::difference::{Difference, Standing};
use crate::ledger::Overview;
use crate::outcome::{Failure, Kind, Outcome};
use crate::report::csv;
use crate::report::runs::{ending, what};
use crate::text::{count, counted, escape, escape_path, excerpt};

/// VMs shown for each kind of difference.
const SHOWN: usize = 10;

/// Characters of one VM's story.
const STORY: usize = 160;

/// The comparison for people.
#[derive(Debug, Default)]
pub struct DiffText {
    /// The first lines of each kind, in the order of [`Difference::ALL`].
    shown: [Vec<String>; Difference::ALL.len()],
}

impl DiffText {
    pub fn row(&mut self, row: &DiffRow<'_>) {
        let lines = &mut self.shown[row.difference as usize];
        if lines.len() < SHOWN {
            let rack = row.rack_id.map(|rack| format!(" on {}", excerpt(rack, STORY)));
            let vmid = escape(row.vmid);
            let story = excerpt(&story(row), STORY);
            lines.push(format!("  {vmid}{}: {story}", rack.unwrap_or_default()));
        }
    }

    /// All of it, ending in a line break.
    pub fn finish(self, from: &Overview, to: &Overview, counts: &Differences, reports: &[PathBuf]) -> String {
        let mut text = head(from, to, counts);
        for (&difference, lines) in Difference::ALL.iter().zip(&self.shown) {
            let vms = counts.of(difference);
            if vms == 0 {
                continue;
            }
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{}: {}", heading(difference), counted(vms, "VM", "VMs"));
            text.extend(lines.iter().flat_map(|line| [line, "\n"]));
            let more = vms - lines.len() as u64;
            if more > 0 {
                let _ = writeln!(text, "  … and {} more; -o FILE writes all of them", count(more));
            }
        }
        for (i, path) in reports.iter().enumerate() {
            let what = if i == 0 { "\nWritten:" } else { "        " };
            let _ = writeln!(text, "{what} {}", escape_path(path));
        }
        text
    }
}

fn head(from: &Overview, to: &Overview, counts: &Differences) -> String {
    let all = counted(counts.all(), "VM", "VMs");
    let verdict = match counts.different() {
        0 if (from.kind, to.kind) == (Kind::Plan, Kind::Run) => format!("No difference: {all}, as planned"),
        0 => format!("No difference: {all}, the same in both runs"),
        different => format!("{} of {all} differ", count(different)),
    };
    let run = |run: &Overview| format!("{}: {}, {}", escape(&run.id), what(run), ending(run));
    format!("{verdict}\nFrom {}\nTo   {}\n", run(from), run(to))
}

fn heading(difference: Difference) -> &'static str {
    match difference {
        Difference::NewlyFailing => "Newly failing",
        Difference::Recovered => "Recovered",
        Difference::Changed => "Changed",
        Difference::Appeared => "Appeared",
        Difference::Gone => "Gone",
        Difference::NotAttempted => "Not attempted in one of the runs",
    }
}

/// What a person needs to know of a VM.
fn story(row: &DiffRow<'_>) -> String {
    let changes = row.changes.iter().map(csv::change).collect::<Vec<_>>().join("; ");
    let [before, after] = [row.before, row.after].map(|standing| standing.map(verdict));
    match (row.difference, row.after.or(row.before), before, after) {
        (Difference::NewlyFailing, Some(Standing { error: Some(error), .. }), _, Some(after)) => {
            format!("{after}: {error}")
        }
        (Difference::Changed, ..) if !changes.is_empty() => changes,
        (_, _, Some(before), Some(after)) => format!("{before} → {after}"),
        (_, _, None, Some(after)) => after,
        (_, _, Some(before), None) => format!("was {before}"),
        (_, _, None, None) => String::new(),
    }
}

/// The outcome in a word; of a failed or blocked VM, why, and of one that would change, to what.
fn verdict(standing: &Standing) -> String {
    let word = standing.failure.map_or(standing.outcome.as_str(), Failure::as_str);
    let hop = standing.planned_next_hop.as_ref().map(|hop| format!("next hop {hop}"));
    let reason = standing.error.clone().filter(|_| standing.outcome == Outcome::Blocked);
    hop.or(reason).map_or(word.to_owned(), |detail| format!("{word} ({detail})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::tests::{answered, forecast};
    use crate::ledger::Pair;
    use crate::report::diff::tests::{compare, pair, pairs, runs};

    fn text(pairs: &[Pair], reports: &[PathBuf]) -> String {
        let mut text = DiffText::default();
        let counts = compare(pairs, |row| text.row(row));
        let (from, to) = runs();
        text.finish(&from, &to, &counts, reports)
    }

    #[test]
    fn people_read_how_many_differ_in_which_way_and_the_first_of_each() {
        insta::assert_snapshot!(text(&pairs(), &["a.csv".into(), "b.json".into()]), @"
        7 of 8 VMs differ
        From 20261123T021500Z-0001: allocate fleet.csv, complete
        To   20261124T021500Z-0002: allocate fleet.csv, complete

        Newly failing: 1 VM
          1 on dc1r28: timeout: in words

        Recovered: 1 VM
          2 on dc1r28: timeout → unchanged

        Changed: 2 VMs
          3 on dc1r28: next_hop: 2001:db8:1000::1 → 2001:db8:1000::2
          4 on dc1r29: timeout → not_found

        Appeared: 1 VM
          5 on dc1r28: created

        Gone: 1 VM
          6 on dc1r29: was not_found

        Not attempted in one of the runs: 1 VM
          7 on dc1r28: unchanged → not_attempted

        Written: a.csv
                 b.json
        ");
    }

    #[test]
    fn what_a_plan_says_of_a_vm_stands_with_it() {
        let hop = |hop| forecast(Outcome::Update, Some(hop), None);
        let blocked = forecast(Outcome::Blocked, None, Some("no \u{1b}IPv4"));
        let pairs = [
            pair(1, Some(hop("2001:db8::1")), Some(hop("2001:db8::2"))),
            pair(2, Some(blocked), Some(forecast(Outcome::Create, Some("2001:db8::1"), None))),
        ];
        let text = text(&pairs, &[]);
        let stories = [
            "  1 on dc1r28: update (next hop 2001:db8::1) → update (next hop 2001:db8::2)\n",
            "  2 on dc1r28: blocked (no \\u{1b}IPv4) → create (next hop 2001:db8::1)\n",
        ];
        assert!(text.ends_with(&format!("Changed: 2 VMs\n{}", stories.concat())), "{text}");
    }

    #[test]
    fn of_many_vms_the_first_are_shown_and_the_rest_counted() {
        let many: Vec<Pair> = (1..=1_012).map(|vmid| pair(vmid, Some(answered()), None)).collect();
        let text = text(&many, &[]);
        assert!(text.contains("\nGone: 1,012 VMs\n  1 on dc1r28: was unchanged\n"), "{text}");
        assert!(
            text.ends_with("  10 on dc1r28: was unchanged\n  … and 1,002 more; -o FILE writes all of them\n"),
            "{text}"
        );
    }

    #[test]
    fn no_difference_is_said_in_one_line() {
        let text = text(&pairs()[7..], &[]);
        assert!(text.starts_with("No difference: 1 VM, the same in both runs\nFrom "), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
