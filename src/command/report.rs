//! `v6fleet report`: a run's reports and recap again, from the ledger.

use super::execution::print_recap;
use super::outputs::{all_written, make_own_directory, write_reports};
use super::spared::Spared;
use super::target::{common_args, ledger_to_read};
use super::{BeforeTheFirstCall, CommandError, exit};
use crate::cli::{CommonArgs, ReportArgs};
use crate::ledger::{SANDBOX, Summary};
use crate::report::check_outputs;

/// Does what `args` say. Returns the exit code.
pub(super) fn report(common: &CommonArgs, args: &ReportArgs) -> Result<u8, CommandError> {
    let ledger = ledger_to_read(common, args.sandbox)?;
    // One view for all of it: a run that is on goes on meanwhile, and another may begin or delete this one.
    let running = ledger.under_way(None)?;
    let (run, info, summary, written) = ledger.as_of_now(|ledger| {
        let run = ledger.find_run(&args.run)?;
        let info = ledger.run_info(&run)?;
        Spared::new(common, args.sandbox)?.recorded(&info).check(&args.output)?;
        args.output.iter().try_for_each(|output| make_own_directory(output, &run)).before_the_first_call()?;
        check_outputs(&args.output).before_the_first_call()?;
        let summary = Summary { since: ledger.since(&run)?, ..ledger.summary(&run)? };
        let running = ledger.under_way(running)?.is_some_and(|id| id == run.id);
        let summary = Summary { running: running && info.ended_at.is_none(), ..summary };
        let written = write_reports(ledger, &run, &info, &summary, &args.output)?;
        Ok::<_, CommandError>((run, info, summary, written))
    })?;
    // Also where --ledger named a rehearsal's: what is told to be typed must not call the real API.
    let common_args = common_args(common, args.sandbox || info.base_url == SANDBOX);
    print_recap(args.format, &info, &summary, &written.paths, &common_args)?;
    all_written(written, &args.output, &run, &common_args)?;
    Ok(exit::COMPLETE)
}
