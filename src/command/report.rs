//! `v6fleet report`: a run's reports and recap again, from the ledger.

use super::exit;
use super::failure::{Broken, Failure, Refusal};
use super::ledger::{to_read, view};
use super::outputs::{all_written, make_own_directory, write_reports};
use super::recap::print_recap;
use super::spared::Spared;
use crate::config::ReportSettings;
use crate::ledger::{Ledger, RunInfo, RunKey, SANDBOX, Summary};
use crate::report::{ReportFile, Written};

/// Does what was asked for. Returns the exit code.
pub(super) fn report(settings: &ReportSettings) -> Result<u8, Failure> {
    let ledger = to_read(&settings.ledger)?;
    let running = ledger.under_way(vec![]).map_err(Refusal::from)?;
    let reported = view(&ledger, |ledger| Ok(Prepared::prepare(settings, ledger, running)?.write()?))?;
    Ok(reported.tell(settings)?)
}

/// A run of which all is known but its rows.
struct Prepared<'a> {
    settings: &'a ReportSettings,
    ledger: &'a Ledger,
    run: RunKey,
    info: RunInfo,
    summary: Summary,
}

impl<'a> Prepared<'a> {
    /// `running` are the runs that were under way before the ledger was held still.
    fn prepare(
        settings: &'a ReportSettings,
        ledger: &'a Ledger,
        running: Vec<String>,
    ) -> Result<Self, Refusal> {
        let run = ledger.find_run(&settings.run)?;
        let info = ledger.run_info(&run)?;
        let outputs = settings.files.iter().map(|file| &file.path);
        Spared::new(&settings.ledger).recorded(&info).check(outputs.clone())?;
        outputs.clone().try_for_each(|output| make_own_directory(output, &run))?;
        settings.files.iter().try_for_each(ReportFile::check)?;
        let summary = Summary { since: ledger.since(&run)?, ..ledger.summary(&run)? };
        let running = ledger.under_way(running)?.contains(&run.id);
        let summary = Summary { running: running && info.ended_at.is_none(), ..summary };
        Ok(Self { settings, ledger, run, info, summary })
    }

    fn write(self) -> Result<Reported, Broken> {
        let Self { settings, ledger, run, info, summary } = self;
        let written = write_reports(ledger, &run, &info, &summary, &settings.files)??;
        Ok(Reported { run, info, summary, written })
    }
}

/// A run whose reports are written.
struct Reported {
    run: RunKey,
    info: RunInfo,
    summary: Summary,
    written: Written,
}

impl Reported {
    fn tell(self, settings: &ReportSettings) -> Result<u8, Broken> {
        let Self { run, info, summary, written } = self;
        let ReportSettings { ledger, files, recap, .. } = settings;
        // Also where --ledger named a rehearsal's: what is told to be typed must not call the real API.
        let ledger_args = ledger.args(ledger.sandbox || info.base_url == SANDBOX);
        print_recap(*recap, files, &info, &summary, &written.paths, &ledger_args)?;
        all_written(written, files, &run, &ledger_args)?;
        Ok(exit::COMPLETE)
    }
}
