//! `v6fleet diff`: what sets two runs apart, VM by VM.

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::{to_read, view};
use super::spared::Spared;
use super::stdout::{Stdout, print_as};
use crate::config::{DiffSettings, Form};
use crate::inventory::Selection;
use crate::ledger::{Ledger, LedgerError, Overview, Pair, RunKey};
use crate::report::ReportFile;
use crate::report::diff::{DiffFiles, DiffRow, DiffText, Differences, JsonDiff};

/// Does what was asked for. Returns the exit code.
pub(super) fn diff(settings: &DiffSettings) -> Result<u8, Failure> {
    let DiffSettings { ledger, selection, files, .. } = settings;
    Spared::new(ledger).selection(selection).check(files.iter().map(|file| &file.path))?;
    files.iter().try_for_each(ReportFile::check).map_err(Refusal::from)?;
    let selection = selection.read().map_err(Refusal::from)?;
    let ledger = to_read(ledger)?;
    view(&ledger, |ledger| Ok(Comparing::prepare(settings, ledger, selection)?.carry_out()?))
}

/// Standard output, in either form.
enum Printed {
    Text(DiffText),
    Json(JsonDiff<Stdout>),
}

/// Two runs that are compared.
struct Comparing<'a> {
    ledger: &'a Ledger,
    chosen: Chosen,
    from: (RunKey, Overview),
    to: (RunKey, Overview),
    form: Form,
    files: DiffFiles,
}

/// The VMs that are compared.
struct Chosen {
    selection: Selection,
    /// The first so many of them.
    limit: u64,
}

impl Chosen {
    fn has(&self, pair: &Pair, before: u64) -> bool {
        before < self.limit && self.selection.matches(&pair.vm, pair.rack.as_deref())
    }
}

/// Why a look through two runs ended before their last VM.
enum Looked {
    Found,
    Failed(LedgerError),
}

impl From<LedgerError> for Looked {
    fn from(error: LedgerError) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Comparing<'a> {
    fn prepare(settings: &DiffSettings, ledger: &'a Ledger, selection: Selection) -> Result<Self, Refusal> {
        let find = |run: &str| {
            let run = ledger.find_run(run)?;
            let overview = ledger.overview(&run)?;
            Ok::<_, LedgerError>((run, overview))
        };
        let (from, to) = (find(&settings.from)?, find(&settings.to)?);
        let chosen = Chosen { selection, limit: settings.selection.limit.unwrap_or(u64::MAX) };
        let look = |pair: Pair| if chosen.has(&pair, 0) { Err(Looked::Found) } else { Ok(()) };
        match ledger.each_pair(&from.0, &to.0, look) {
            Err(Looked::Found) => {}
            Err(Looked::Failed(error)) => return Err(error.into()),
            Ok(()) => {
                return Err(Refusal::nothing("nothing selected: no VM of the two runs matches"));
            }
        }
        let files = DiffFiles::create(&settings.files, &from.1, &to.1)?;
        Ok(Self { ledger, chosen, from, to, form: settings.form, files })
    }

    /// Returns the exit code.
    fn carry_out(mut self) -> Result<u8, Broken> {
        let (from, to) = (&self.from.1, &self.to.1);
        let mut printed = match self.form {
            Form::Text => Printed::Text(DiffText::default()),
            Form::Json => Printed::Json(JsonDiff::begin(Stdout::lock(), from, to).map_err(Stdout::failed)?),
        };
        let mut counts = Differences::default();
        self.ledger.each_pair(&self.from.0, &self.to.0, |pair| {
            if self.chosen.has(&pair, counts.all()) {
                compare(&pair, &mut counts, &mut self.files, &mut printed)?;
            }
            Ok::<_, Broken>(())
        })?;
        let written = self.files.finish(&counts)?;
        match printed {
            Printed::Text(text) => print_as(Form::Text, &text.finish(from, to, &counts, &written))?,
            Printed::Json(json) => json.finish(&counts).map(drop).map_err(Stdout::failed)?,
        }
        Ok(if counts.different() > 0 { exit::CHANGES } else { exit::COMPLETE })
    }
}

fn compare(
    pair: &Pair,
    counts: &mut Differences,
    files: &mut DiffFiles,
    printed: &mut Printed,
) -> Result<(), Broken> {
    let difference = pair.difference();
    counts.add(difference);
    let Some(difference) = difference else { return Ok(()) };
    let row = DiffRow::new(pair, difference);
    files.row(&row);
    match printed {
        Printed::Text(text) => text.row(&row),
        Printed::Json(json) => json.row(&row).map_err(Stdout::failed)?,
    }
    Ok(())
}
