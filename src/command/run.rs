//! `v6fleet run`: the inventory into the ledger, then every VM called.

use tracing::{info, warn};

use super::execution::Execution;
use super::job::{Course, course, job};
use super::outputs::spare;
use super::ping::Ended;
use super::resume::go_on;
use super::spared::Spared;
use super::staging::{Past, Selected, Stage, Staged, Wanted, guard, selection, stage};
use super::target::{Rehearsal, Target, api_key, check_reports, common_args, world};
use super::{BeforeTheFirstCall, CommandError};
use crate::cli::RunArgs;
use crate::config::{Config, ledger_path};
use crate::inventory::{Action, Inputs, InvalidRow, Selection, Vm};
use crate::ledger::{Draft, Ledger, NewRun, RunKey};
use crate::progress::Screen;
use crate::sandbox::World;

/// Does what the command line says.
pub(super) fn run(config: &Config, args: &RunArgs, screen: &Screen) -> Result<Ended, CommandError> {
    let common = &config.cli.common;
    let sandbox = args.rehearsal.sandbox;
    let path = ledger_path(common, sandbox)?;
    let spared = Spared::new(common, sandbox)?.inventory(&args.inventory).selection(&args.selection);
    let spared = spared.connection(&args.connection, &args.rehearsal);
    spare(&spared, &args.reports, args.inventory_options.skip_invalid)?;
    check_reports(&args.reports)?;
    let key = api_key(&args.connection, sandbox)?;
    let target = Target { connection: &args.connection, pace: &args.pace, key: &key };
    // Made once before anything is written, so that a key, certificate or proxy that is no use is found now.
    target.api(&args.base_url)?;
    let ledger = Ledger::open(&path, args.connection.lock_timeout).before_the_first_call()?;
    let selection = selection(&args.selection)?;
    let job = job(config, args, &selection, (!sandbox).then(|| key.fingerprint()));
    ledger.check_kind(&job.base_url).before_the_first_call()?;
    let common_args = common_args(common, sandbox);
    let execution = Execution {
        pace: &args.pace,
        brakes: &args.brakes,
        reports: &args.reports,
        screen,
        common_args: &common_args,
    };
    let mut inputs = Inputs::default();
    let course = course(Some(&ledger), &job, args, &mut inputs, config.typed(), &common_args)?;
    if let Course::GoOn(unfinished) = &course {
        return go_on(ledger, &unfinished.run, &job, &target, &args.rehearsal, &execution);
    }
    let beginning =
        Beginning { args, job: &job, selection: &selection, target: &target, warning: course.warning() };
    let (run, rehearsal) = beginning.record(&ledger, &mut inputs)?;
    match rehearsal {
        Some(rehearsal) => execution.carry_out(ledger, &run, &rehearsal.api),
        None => execution.carry_out(ledger, &run, &target.api(&args.base_url)?),
    }
}

/// A run that is to be begun.
struct Beginning<'a> {
    args: &'a RunArgs,
    job: &'a NewRun,
    selection: &'a Selection,
    target: &'a Target<'a>,
    /// What is to be said of it before its inventory is read.
    warning: Option<String>,
}

impl Beginning<'_> {
    /// Writes the whole run into the ledger, once its rehearsal can begin; the built-in world takes in every VM.
    fn record(
        self,
        ledger: &Ledger,
        inputs: &mut Inputs,
    ) -> Result<(RunKey, Option<Rehearsal>), CommandError> {
        let Self { args, job, selection, target, warning } = self;
        let world = args.rehearsal.sandbox.then(|| world(&args.rehearsal)).transpose()?;
        let only_failed = args.only_failed.as_deref().map(|run| ledger.find_run(run)).transpose();
        let only_failed = only_failed.before_the_first_call()?;
        let shrink = guard(args, Some(ledger), job).before_the_first_call()?;
        let past = Past { ledger: Some(ledger), base_url: &job.base_url, only_failed, shrink };
        let draft = ledger.draft(job).before_the_first_call()?;
        let takes_in = args.rehearsal.world.is_none();
        let mut recording = Recording { draft, action: args.action, world, takes_in };
        let staged = stage(&Wanted::by_run(args, selection), &past, inputs, &mut recording);
        let Staged { reading, selected, skipped, shown, warnings } = staged.before_the_first_call()?;
        let warnings: Vec<String> = warning.into_iter().chain(warnings).collect();
        for row in &shown {
            warn!("skipped {row}");
        }
        for warning in &warnings {
            warn!("{warning}");
        }
        let Recording { draft, world, .. } = recording;
        let rehearsal = world.map(|world| target.rehearse(ledger.path(), world)).transpose()?;
        let run = draft.commit(&reading, &warnings).before_the_first_call()?;
        info!(run = run.id, selected, skipped, "run begins");
        Ok((run, rehearsal))
    }
}

struct Recording<'a> {
    draft: Box<dyn Draft + 'a>,
    /// The one typed for all VMs.
    action: Option<Action>,
    world: Option<World>,
    /// The built-in world has every VM of the inventory; one from a file has its own.
    takes_in: bool,
}

impl Stage for Recording<'_> {
    fn select(&mut self, selected: &Selected<'_>) -> Result<(), CommandError> {
        // A row without an action is invalid where none is typed.
        let Some(action) = self.action.or(selected.vm.action) else { return Ok(()) };
        Ok(self.draft.add(selected.vm, action, selected.rack)?)
    }

    fn skip(&mut self, row: &InvalidRow) -> Result<(), CommandError> {
        Ok(self.draft.skip(&row.file, row.line, &row.column, &row.reason)?)
    }

    fn see(&mut self, vm: &Vm) {
        if let (Some(world), true) = (&mut self.world, self.takes_in) {
            world.take_in(vm.id.as_str(), vm.expected.rack_id.as_deref());
        }
    }
}
