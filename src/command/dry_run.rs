//! `v6fleet run --dry-run`: what would be called, and for how long. Calls nothing, writes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::staging::{Past, Selected, Stage, Staged, guard, stage};
use super::{CommandError, exit, print};
use crate::cli::{CommonArgs, RecapFormat, RunArgs};
use crate::config::ledger_path;
use crate::inventory::{InvalidRow, Vm};
use crate::ledger::{Ledger, LedgerError, SANDBOX};
use crate::text::{counted, duration, shortened};

const NOTHING_CALLED: &str = "Dry run: nothing is called, nothing is written.";

/// Racks shown one by one.
const RACKS: usize = 50;

/// How much of a rack's name is shown.
const NAME: usize = 40;

/// Does what `args` say. Returns the exit code.
pub(super) fn dry_run(common: &CommonArgs, args: &RunArgs) -> Result<u8, CommandError> {
    let sandbox = args.rehearsal.sandbox;
    let base_url = if sandbox { SANDBOX } else { args.base_url.as_str() };
    let ledger = match Ledger::open_read_only(&ledger_path(common, sandbox)?) {
        Ok(ledger) => Some(ledger),
        Err(LedgerError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let only_failed = match (&ledger, &args.only_failed) {
        (Some(ledger), Some(run)) => Some(ledger.find_run(run)?),
        (None, Some(run)) => return Err(LedgerError::UnknownRun(run.clone()).into()),
        (_, None) => None,
    };
    let shrink = guard(args, ledger.as_ref(), base_url)?;
    let past = Past { ledger: ledger.as_ref(), base_url, only_failed, shrink };
    let mut counting = Counting { past: &past, racks: BTreeMap::new() };
    let staged = stage(&args.into(), &past, &mut counting)?;
    let racks = counting.racks;
    let text = match args.reports.format {
        RecapFormat::Text => text(args, base_url, &staged, &racks),
        RecapFormat::Json => json(args, base_url, &staged, &racks),
    };
    print(text.as_bytes())?;
    Ok(if staged.skipped > 0 { exit::FAILED } else { exit::COMPLETE })
}

type Racks = BTreeMap<Option<String>, Rack>;

#[derive(Default)]
struct Rack {
    selected: u64,
    /// Of these, an allocation is on record.
    known: u64,
}

struct Counting<'a> {
    past: &'a Past<'a>,
    racks: Racks,
}

impl Stage for Counting<'_> {
    fn select(&mut self, selected: &Selected<'_>) -> Result<(), CommandError> {
        let known = match self.past.ledger {
            Some(ledger) => ledger.last_rack(self.past.base_url, &selected.vm.id)?.is_some(),
            None => false,
        };
        let rack = self.racks.entry(selected.rack.map(str::to_owned)).or_default();
        rack.selected += 1;
        rack.known += u64::from(known);
        Ok(())
    }

    fn skip(&mut self, _: &InvalidRow) -> Result<(), CommandError> {
        Ok(())
    }

    fn see(&mut self, _: &Vm) {}
}

/// Seconds that the calls take at the typed rate, each VM called once; `None` without a rate.
#[expect(clippy::cast_precision_loss, reason = "no fleet has 2^53 VMs")]
fn at_least(args: &RunArgs, selected: u64) -> Option<f64> {
    args.pace.rate.per_second().map(|rate| selected as f64 / rate)
}

fn text(args: &RunArgs, base_url: &str, staged: &Staged, racks: &Racks) -> String {
    let mut out = format!("{NOTHING_CALLED}\n\n");
    let action = args.action.map_or("each row's own action", |action| action.as_str());
    let vms = counted(staged.selected, "VM", "VMs");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{vms} selected for {action} at {base_url}");
    let names = racks.keys().take(RACKS).map(|rack| shown(rack.as_deref()));
    let width = names.map(|name| name.chars().count()).max().unwrap_or_default();
    for (rack, Rack { selected, known }) in racks.iter().take(RACKS) {
        let unseen = selected - known;
        let rack = shown(rack.as_deref());
        let _ = writeln!(out, "  {rack:width$}  {selected:>9}  ({known} seen before, {unseen} never)");
    }
    if racks.len() > RACKS {
        let _ = writeln!(out, "  and {} more racks", racks.len() - RACKS);
    }
    match at_least(args, staged.selected) {
        Some(seconds) => {
            let _ = writeln!(out, "At {}, that takes {} at least.", args.pace.rate, duration(seconds));
        }
        None => out.push_str("Without a rate limit, that takes as long as the API makes it.\n"),
    }
    if staged.skipped > 0 {
        let _ = writeln!(out, "{} would be skipped.", counted(staged.skipped, "invalid row", "invalid rows"));
    }
    for warning in &staged.warnings {
        let _ = writeln!(out, "Warning: {warning}");
    }
    let _ = writeln!(out, "\n{NOTHING_CALLED}");
    out
}

fn shown(rack: Option<&str>) -> String {
    rack.map_or_else(|| "(no rack)".to_owned(), |rack| shortened(rack, NAME))
}

fn json(args: &RunArgs, base_url: &str, staged: &Staged, racks: &Racks) -> String {
    let racks: Vec<_> = racks
        .iter()
        .map(|(rack, counts)| json!({"rack_id": rack, "selected": counts.selected, "known": counts.known}))
        .collect();
    let object = json!({
        "dry_run": true,
        "base_url": base_url,
        "action": args.action,
        "selected": staged.selected,
        "skipped": staged.skipped,
        "racks": racks,
        "at_least_s": at_least(args, staged.selected),
        "warnings": staged.warnings,
    });
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rack_is_so_long_that_it_is_a_width() {
        for length in [1, NAME, 70_000, 1 << 20] {
            assert!(shown(Some(&"å".repeat(length))).chars().count() <= NAME);
        }
        assert_eq!(shown(None), "(no rack)");
    }
}
