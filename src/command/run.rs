//! `v6fleet run`: the inventory into the ledger, then every VM called.

use tracing::{info, warn};

use super::access::Access;
use super::continuation::{Continued, go_on};
use super::descriptors::make_room;
use super::ended::Ended;
use super::execution::{Execution, Plan, Role};
use super::failure::{Failure, Refusal};
use super::job::{Course, course, job};
use super::log;
use super::outputs;
use super::past::Past;
use super::planned::Planned;
use super::rehearsal::{Callee, Played, world};
use super::spared::Spared;
use super::staging::{Selected, Stage, Staged, Wanted, stage};
use crate::config::RunSettings;
use crate::inventory::{Inputs, InvalidRow, Selection, Vm};
use crate::ledger::{Begun, Draft, Ledger, NewRun};
use crate::progress::Screen;
use crate::sandbox::World;
use crate::vm::Action;

/// Does what was asked for.
pub(super) fn run(settings: &RunSettings, screen: &Screen) -> Result<Ended, Failure> {
    let RunSettings { ledger, calls, reports, .. } = settings;
    let plan = Plan { calls, reports, screen, ledger_args: &ledger.args(ledger.sandbox), role: Role::Begins };
    let selection = settings.inventory.selection.read().map_err(Refusal::from)?;
    Ok(prepare(settings, plan, &selection, &mut Inputs::default())?.carry_out()?)
}

/// Writes the run into the ledger, or finds the one that is gone on with.
pub(super) fn prepare<'a>(
    settings: &RunSettings,
    plan: Plan<'a>,
    selection: &Selection,
    inputs: &mut Inputs,
) -> Result<Execution<'a>, Refusal> {
    let RunSettings { ledger, api, inventory, reports, .. } = settings;
    make_room(plan.calls.reconcile.concurrency.get(), ledger.sandbox)?;
    let spared = Spared::new(ledger).inventory(inventory).api(api);
    outputs::spare(&spared, reports, inventory.skip_invalid)?;
    outputs::check(reports)?;
    let access = Access::find(api, ledger.sandbox)?;
    // Made once before anything is written, so that a key, certificate or proxy that is no use is found now.
    access.api(&settings.base_url, settings.dialect)?;
    let ledger = Ledger::open(&ledger.location, settings.lock_timeout)?;
    let job = job(settings, selection, access.fingerprint());
    let course = course::<Refusal>(Some(&ledger), &job, settings, inputs)?;
    if let Course::GoOn(unfinished) = course {
        let continued = Continued { ledger, run: unfinished.run, job };
        let played = Played { file: api.world.as_deref(), state: settings.ledger.world.as_deref() };
        return go_on(continued, &access, played, plan);
    }
    let warning = course.warning();
    let beginning = Beginning { settings, job: &job, selection, access: &access, warning };
    let (begun, callee) = beginning.record(&ledger, inputs)?;
    Execution::prepare(plan, ledger, begun, callee)
}

/// A run that is to be begun.
struct Beginning<'a> {
    settings: &'a RunSettings,
    job: &'a NewRun,
    selection: &'a Selection,
    access: &'a Access<'a>,
    /// What is to be said of it before its inventory is read.
    warning: Option<String>,
}

impl Beginning<'_> {
    /// Writes the whole run into the ledger, once its rehearsal can begin; the built-in world takes in every VM.
    fn record(self, ledger: &Ledger, inputs: &mut Inputs) -> Result<(Begun, Callee), Refusal> {
        let Self { settings, job, selection, access, warning } = self;
        let world_file = settings.api.world.as_deref();
        let world = settings.ledger.sandbox.then(|| world(world_file)).transpose()?;
        let past = Past::of_run::<Refusal>(Some(ledger), job, settings, inputs)?;
        if let Some(Planned { run, changes }) = &past.only_planned {
            info!(plan = run.id, changes, "only what a plan said would change");
        }
        let draft = ledger.draft(job)?;
        let mut recording = Recording {
            draft,
            action: (settings.action, settings.spare_action),
            world,
            takes_in: world_file.is_none(),
        };
        let staged = stage(&Wanted::by_run(settings, selection), &past, inputs, &mut recording)?;
        let Staged { reading, selected, skipped, shown, warnings } = staged;
        let warnings: Vec<String> = warning.into_iter().chain(warnings).collect();
        let Recording { draft, world, .. } = recording;
        let callee = match world {
            Some(world) => {
                Callee::embedded(access, settings.ledger.world.as_deref(), world, settings.dialect)?
            }
            None => Callee::real(access.api(&settings.base_url, settings.dialect)?),
        };
        let begun = draft.commit(&reading, &warnings)?;
        let id = &begun.run.id;
        log::of_run(id);
        for row in &shown {
            warn!("skipped {row}");
        }
        for warning in &warnings {
            warn!("{warning}");
        }
        info!(run = id, selected, skipped, "{} begins", job.kind);
        Ok((begun, callee))
    }
}

struct Recording<'a> {
    draft: Box<dyn Draft + 'a>,
    /// The one typed for all VMs, and the one of those without.
    action: (Option<Action>, Option<Action>),
    world: Option<World>,
    /// The built-in world has every VM of the inventory; one from a file has its own.
    takes_in: bool,
}

impl Stage for Recording<'_> {
    type Error = Refusal;

    fn select(&mut self, selected: &Selected<'_>) -> Result<(), Refusal> {
        // A row without an action is invalid where none is typed.
        let (typed, spare) = self.action;
        let Some(action) = typed.or(selected.vm.action).or(spare) else { return Ok(()) };
        Ok(self.draft.add(selected.vm, action, selected.rack)?)
    }

    fn skip(&mut self, row: &InvalidRow) -> Result<(), Refusal> {
        Ok(self.draft.skip(&row.file, row.line, &row.column, &row.reason)?)
    }

    fn see(&mut self, vm: &Vm) {
        if let (Some(world), true) = (&mut self.world, self.takes_in) {
            world.take_in(vm.id.as_str(), vm.expected.rack_id.as_deref());
        }
    }
}
