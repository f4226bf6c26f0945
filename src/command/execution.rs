//! A run that is in the ledger: calls, outcome, reports, recap, exit code.
//!
//! Prepared, it has all that it needs; from then on whatever breaks is no fault of what was asked for.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::ended::{Ended, News};
use super::exit;
use super::failure::{Broken, Refusal};
use super::log;
use super::outputs::{all_written, list_skipped, outputs, unreported, write_reports};
use super::own_files;
use super::recap::{going_on, print_recap};
use super::rehearsal::Callee;
use super::signals::signals;
use crate::brake::Brake;
use crate::config::{CallSettings, ReportingSettings};
use crate::ledger::{
    Begun, Board, End, Ledger, LedgerError, Reply, RunInfo, RunKey, Start, Summary, Writer, host,
};
use crate::pace::Pace;
use crate::progress::{Progress, Screen};
use crate::reconcile::{Ending, Parts, reconcile};
use crate::report::RunEnded;
use crate::stop::Stop;

/// How a run is to be carried out.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) calls: &'a CallSettings,
    pub(super) reports: &'a ReportingSettings,
    pub(super) screen: &'a Screen,
    /// Arguments that name the ledger in commands shown to the user.
    pub(super) ledger_args: &'a str,
    pub(super) role: Role,
}

/// What this process is to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It has begun it, or gone on with it, and reports it whoever ends it. It deletes old runs, whose reports are on its disk.
    Begins,
    /// It works on another's run, and reports it if it ends it.
    Joins,
}

/// What a run has come to, and what it is.
type Noted = (Box<Summary>, Box<RunInfo>);

/// How often a worker that is done looks whether the others are.
const POLL: Duration = Duration::from_millis(250);

/// A run with all that it needs to be carried out.
pub(super) struct Execution<'a> {
    plan: Plan<'a>,
    run: RunKey,
    callee: Callee,
    writer: Writer,
    /// Whether others may work on it.
    is_shared: bool,
    /// Where the run tells how it stands.
    board: Option<Box<dyn Board>>,
    start: Start,
}

impl<'a> Execution<'a> {
    pub(super) fn prepare(
        plan: Plan<'a>,
        ledger: Ledger,
        Begun { run, mut start }: Begun,
        callee: Callee,
    ) -> Result<Self, Refusal> {
        log::of_run(&run.id);
        if plan.calls.forget_rate {
            ledger.remember_rate(&run, None)?;
            start.remembered_rate = None;
        }
        let (board, is_shared) = (ledger.board(&run), ledger.is_shared());
        let writer = ledger.write_for(&run, plan.calls.reconcile.policy.max_wait)?;
        Ok(Self { plan, run, callee, writer, is_shared, board, start })
    }

    pub(super) fn carry_out(self) -> Result<Ended, Broken> {
        let (plan, run) = (self.plan, self.run.clone());
        let (ledger, ending) = self.call_all()?;
        match ending {
            Ending::Complete | Ending::Over => plan.conclude(ledger, &run, None),
            Ending::Stopped(stop) => plan.conclude(ledger, &run, Some(stop)),
            Ending::Left(stop) => plan.leave(ledger, &run, stop),
            // Nothing is noted and nothing lost: the run is as a crash would have left it.
            Ending::Abandoned(stop) => Ok(Ended { exit_code: stop.exit_code(), news: None }),
        }
    }

    /// Carries it out, and says and writes nothing of it: what it came to, or why it was stopped.
    pub(super) fn carry_out_unreported(self) -> Result<(RunKey, Result<Summary, Stop>), Broken> {
        let (plan, run) = (self.plan, self.run.clone());
        let (mut ledger, ending) = self.call_all()?;
        let stop = match ending {
            Ending::Complete | Ending::Over => None,
            Ending::Stopped(stop) | Ending::Left(stop) => Some(stop),
            Ending::Abandoned(stop) => return Ok((run, Err(stop))),
        };
        let ended = plan.end(&mut ledger, &run, stop)?.map(|(summary, _)| *summary);
        let summary = ended.map_or_else(|| plan.sum_up(&mut ledger, &run), Ok)?;
        ledger.close()?;
        Ok((run, stop.or(summary.stopped_by).map_or(Ok(summary), Err)))
    }

    fn call_all(self) -> Result<(Ledger, Ending), Broken> {
        let Self { plan, run, callee, mut writer, is_shared, board, start } = self;
        let (begun, now) = (start.so_far(), Instant::now());
        let Start { counts, pending, racks, remembered_rate, shares_pace } = start;
        let terminal = io::stderr().is_terminal();
        let mut progress = Progress::new(plan.reports.progress, begun, terminal, plan.screen, now);
        let paced = if shares_pace { Pace::shared } else { Pace::new };
        let mut pace = paced(plan.calls.rate, remembered_rate, now);
        if let Some(per_second) = pace.tests() {
            info!(per_second, "testing whether the API's limit is still what an earlier run found");
        }
        let parts = Parts {
            api: &callee.api,
            pace: &mut pace,
            brake: Brake::new(plan.calls.limits, counts.selected),
            is_shared,
            progress: &mut progress,
            board,
            pending,
            racks,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Broken::new)?;
        let mut signals = signals().map_err(Broken::new)?;
        let ending = runtime.block_on(reconcile(&plan.calls.reconcile, parts, &mut writer, &mut signals));
        // A call or a name look-up that still hangs must not keep us.
        runtime.shutdown_background();
        progress.finish();
        let (ledger, rest) = writer.close();
        let whole = ending.and_then(|ending| {
            let mut ledger = handed_back(ledger, rest)?;
            ledger.outlast(plan.patience(), |ledger| ledger.remember_rate(&run, pace.to_remember()))?;
            Ok((ledger, ending))
        });
        whole.map_err(|error| plan.broken_off(&run, &error))
    }
}

/// The ledger, if its writer has written all that it was given.
fn handed_back(ledger: Option<Ledger>, rest: Vec<Reply>) -> Result<Ledger, LedgerError> {
    for reply in rest {
        if let Reply::Failed(error) = reply {
            return Err(error);
        }
    }
    ledger.ok_or(LedgerError::WriterGone)
}

impl Plan<'_> {
    /// Notes the end of the run, and says what came of it.
    fn conclude(&self, mut ledger: Ledger, run: &RunKey, stop: Option<Stop>) -> Result<Ended, Broken> {
        match self.end(&mut ledger, run, stop)? {
            Some((summary, info)) => self.report(ledger, run, &info, &summary),
            None if self.role == Role::Joins => self.ended_by_another(ledger, run),
            None => self.report_of_another(ledger, run),
        }
    }

    /// Reports what another worker has ended.
    fn report_of_another(&self, mut ledger: Ledger, run: &RunKey) -> Result<Ended, Broken> {
        let summary = self.sum_up(&mut ledger, run)?;
        let info = ledger.outlast(self.patience(), |ledger| ledger.run_info(run)).map_err(|error| {
            let outputs = outputs(self.reports, &run.id);
            unreported(&error, &outputs, run, self.ledger_args)
        })?;
        self.report(ledger, run, &info, &summary)
    }

    fn sum_up(&self, ledger: &mut Ledger, run: &RunKey) -> Result<Summary, Broken> {
        let summary = ledger.outlast(self.patience(), |ledger| ledger.summary_since(run));
        summary.map_err(|error| self.broken_off(run, &error))
    }

    fn report(
        &self,
        ledger: Ledger,
        run: &RunKey,
        info: &RunInfo,
        summary: &Summary,
    ) -> Result<Ended, Broken> {
        let resume = going_on(&info.id, summary, self.ledger_args);
        let event = RunEnded::of(info, summary, &host(), resume.as_deref());
        match self.tell(ledger, run, info, summary) {
            Ok(recap) => Ok(Ended { exit_code: summary.exit_code, news: Some(News { recap, event }) }),
            Err(broken) => Err(broken.once_over(event)),
        }
    }

    /// Writes the reports, and shows the recap and returns it.
    fn tell(
        &self,
        mut ledger: Ledger,
        run: &RunKey,
        info: &RunInfo,
        summary: &Summary,
    ) -> Result<String, Broken> {
        let patience = self.patience();
        let outputs = outputs(self.reports, &run.id);
        let unreported = |error: LedgerError| unreported(&error, &outputs, run, self.ledger_args);
        let write = |ledger: &Ledger| write_reports(ledger, run, info, summary, &outputs);
        let mut written = ledger.outlast(patience, write).map_err(unreported)??;
        if summary.skipped > 0 {
            let list = |ledger: &Ledger| list_skipped(ledger, run, self.reports, &mut written);
            ledger.outlast(patience, list).map_err(unreported)?;
        }
        // Before the recap: nobody may be left to read that.
        self.own(&ledger, run, &written.paths);
        let recap = print_recap(
            self.reports.recap,
            &self.reports.files,
            info,
            summary,
            &written.paths,
            self.ledger_args,
        )?;
        if self.role == Role::Begins {
            self.prune(&ledger);
        }
        ledger.close().map_err(unreported)?;
        all_written(written, &outputs, run, self.ledger_args)?;
        Ok(recap)
    }

    /// How long a ledger is waited for that cannot be reached.
    fn patience(&self) -> Duration {
        self.calls.reconcile.policy.max_wait
    }

    /// Notes the end, once nobody else holds anything of the run; `None` where another worker has.
    fn end(&self, ledger: &mut Ledger, run: &RunKey, stop: Option<Stop>) -> Result<Option<Noted>, Broken> {
        self.ended(ledger, run, stop).map_err(|error| self.broken_off(run, &error))
    }

    fn ended(
        &self,
        ledger: &mut Ledger,
        run: &RunKey,
        stop: Option<Stop>,
    ) -> Result<Option<Noted>, LedgerError> {
        if let Some(stop) = stop.filter(|_| ledger.is_shared()) {
            ledger.outlast(self.patience(), |ledger| ledger.request_stop(run, stop))?;
        }
        loop {
            match self.note_end(ledger, run, stop)? {
                End::Noted { summary, info } => return Ok(Some((summary, info))),
                End::Before => return Ok(None),
                End::Held => thread::sleep(POLL),
            }
        }
    }

    fn note_end(&self, ledger: &mut Ledger, run: &RunKey, stop: Option<Stop>) -> Result<End, LedgerError> {
        ledger
            .outlast(self.patience(), |ledger| ledger.end(run, stop, |summary| self.exit_code(stop, summary)))
    }

    /// This worker was told to go: the run ends if there is no other.
    fn leave(&self, mut ledger: Ledger, run: &RunKey, stop: Stop) -> Result<Ended, Broken> {
        let end = self.note_end(&mut ledger, run, Some(stop));
        match end.map_err(|error| self.broken_off(run, &error))? {
            End::Noted { summary, info } => self.report(ledger, run, &info, &summary),
            End::Before => self.report_of_another(ledger, run),
            End::Held => {
                info!(run = run.id, "this worker has left; others go on with the run");
                ledger.close()?;
                Ok(Ended { exit_code: stop.exit_code(), news: None })
            }
        }
    }

    fn ended_by_another(&self, mut ledger: Ledger, run: &RunKey) -> Result<Ended, Broken> {
        let exit_code = ledger.outlast(self.patience(), |ledger| {
            // Without one it goes on again.
            ledger.course(run)?.exit_code.ok_or(LedgerError::Over)
        });
        let exit_code = exit_code.map_err(|error| self.broken_off(run, &error))?;
        let report = format!("v6fleet report {}{}", run.id, self.ledger_args);
        info!(run = run.id, exit_code, report, "another worker has ended the run");
        ledger.close()?;
        Ok(Ended { exit_code, news: None })
    }

    fn exit_code(&self, stop: Option<Stop>, summary: &Summary) -> u8 {
        let ReportingSettings { fail_on, detailed_exit_code, .. } = *self.reports;
        stop.map_or_else(|| exit::of_complete(summary, fail_on, detailed_exit_code), Stop::exit_code)
    }

    /// Notes which files go with the run when it is deleted.
    fn own(&self, ledger: &Ledger, run: &RunKey, paths: &[PathBuf]) {
        let Some(directory) = &self.reports.directory else { return };
        let files = own_files::written(paths, &directory.join(&run.id));
        if let Err(error) = ledger.add_written(run, files) {
            warn!(%error, "the run's reports are not noted in the ledger, and stay when it is deleted");
        }
    }

    /// The run is over and told of: what goes wrong here changes nothing about that.
    fn prune(&self, ledger: &Ledger) {
        match ledger.prune(self.reports.keep_runs.get(), &mut own_files::remove) {
            Ok(0) => {}
            Ok(runs) => info!(runs, "old runs deleted from the ledger"),
            Err(error) => warn!(%error, "old runs could not be deleted from the ledger"),
        }
    }

    /// What it means that the ledger failed in mid-run, and what to do next.
    fn broken_off(&self, run: &RunKey, error: &LedgerError) -> Broken {
        if matches!(error, LedgerError::Over | LedgerError::Deleted) {
            return Broken::held(anyhow::anyhow!("{}: {error}", run.id));
        }
        let kept = match error {
            LedgerError::Replaced { .. } => {
                "what was settled is in the ledger that it began with: put that back, if it is gone"
            }
            _ => "what was settled is on disk",
        };
        Broken::new(anyhow::anyhow!(
            "{error}\nThe run was broken off, and calls no more: {kept}; what was in flight counts as unanswered.\n\
             Once that is mended, go on: v6fleet resume {id}{args}\nWhat is known so far: v6fleet report {id}{args}",
            id = run.id,
            args = self.ledger_args,
        ))
    }
}
