//! `v6fleet diff`: what sets two runs apart, VM by VM.

use super::spared::Spared;
use super::staging::selection;
use super::target::ledger_to_read;
use super::{BeforeTheFirstCall, CommandError, Stdout, exit, print};
use crate::cli::{CommonArgs, DiffArgs, RecapFormat};
use crate::inventory::Selection;
use crate::ledger::{Ledger, Overview, Pair, RunKey};
use crate::report::diff::{DiffFiles, DiffRow, DiffText, Differences, JsonDiff};

/// Does what `args` say. Returns the exit code.
pub(super) fn diff(common: &CommonArgs, args: &DiffArgs) -> Result<u8, CommandError> {
    Spared::new(common, args.reading.sandbox)?.selection(&args.selection).check(&args.output)?;
    DiffFiles::check(&args.output).before_the_first_call()?;
    let selection = selection(&args.selection)?;
    let ledger = ledger_to_read(common, args.reading.sandbox)?;
    ledger.as_of_now(|ledger| {
        let (from, to) = (ledger.find_run(&args.from)?, ledger.find_run(&args.to)?);
        let runs = (ledger.overview(&from)?, ledger.overview(&to)?);
        Comparing::begin(args, &selection, &runs)?.all(ledger, &from, &to)
    })
}

/// Standard output, in either form.
enum Shown {
    Text(DiffText),
    Json(JsonDiff<Stdout>),
}

/// A comparison while it is being made.
struct Comparing<'a> {
    selection: &'a Selection,
    limit: u64,
    runs: &'a (Overview, Overview),
    shown: Shown,
    files: DiffFiles,
    counts: Differences,
}

impl<'a> Comparing<'a> {
    fn begin(
        args: &DiffArgs,
        selection: &'a Selection,
        runs: &'a (Overview, Overview),
    ) -> Result<Self, CommandError> {
        let (from, to) = runs;
        let shown = match args.reading.format {
            RecapFormat::Text => Shown::Text(DiffText::default()),
            RecapFormat::Json => {
                Shown::Json(JsonDiff::begin(Stdout::lock(), from, to).map_err(Stdout::failed)?)
            }
        };
        Ok(Self {
            selection,
            limit: args.selection.limit.unwrap_or(u64::MAX),
            runs,
            shown,
            files: DiffFiles::create(&args.output, from, to)?,
            counts: Differences::default(),
        })
    }

    fn all(mut self, ledger: &Ledger, from: &RunKey, to: &RunKey) -> Result<u8, CommandError> {
        ledger.each_pair(from, to, |pair| self.pair(&pair))?;
        self.finish()
    }

    fn pair(&mut self, pair: &Pair) -> Result<(), CommandError> {
        if self.counts.all() >= self.limit || !self.selection.matches(&pair.vm, pair.rack.as_deref()) {
            return Ok(());
        }
        let difference = pair.difference();
        self.counts.add(difference);
        let Some(difference) = difference else { return Ok(()) };
        let row = DiffRow::new(pair, difference);
        self.files.row(&row)?;
        match &mut self.shown {
            Shown::Text(text) => text.row(&row),
            Shown::Json(json) => json.row(&row).map_err(Stdout::failed)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<u8, CommandError> {
        if self.counts.all() == 0 {
            return Err(CommandError::nothing("nothing selected: no VM of the two runs matches"));
        }
        let written = self.files.finish(&self.counts)?;
        let (from, to) = self.runs;
        match self.shown {
            Shown::Text(text) => {
                print(text.finish(from, to, &self.counts, &written).as_bytes())?;
            }
            Shown::Json(json) => {
                json.finish(&self.counts).map_err(Stdout::failed)?;
            }
        }
        Ok(if self.counts.different() > 0 { exit::CHANGES } else { exit::COMPLETE })
    }
}
