//! `v6fleet resume`: a run goes on where it stopped, from the ledger alone.

use std::path::Path;

use tracing::warn;

use super::access::Access;
use super::continuation::{Continued, go_on};
use super::descriptors::make_room;
use super::ended::Ended;
use super::execution::{Execution, Plan, Role};
use super::failure::{Failure, Refusal};
use super::job::terms;
use super::ledger::to_change;
use super::outputs;
use super::rehearsal::Played;
use super::spared::Spared;
use crate::config::{ResumeRequest, ResumeSettings};
use crate::ledger::{Ledger, NewRun, RunInfo, RunKey, SANDBOX, Unfinished};
use crate::progress::Screen;
use crate::text::counted;

/// Does what was asked for.
pub(super) fn resume(request: &ResumeRequest, screen: &Screen) -> Result<Ended, Failure> {
    // How many calls the run makes at once is known when its options are.
    make_room(1, request.ledger.sandbox)?;
    let (ledger, run) = find(request)?;
    let info = ledger.run_info(&run).map_err(Refusal::from)?;
    let settings = request.over_recorded(&info.options, info.kind, info.dialect).map_err(Refusal::from)?;
    let ledger_args = request.ledger.args(info.base_url == SANDBOX);
    let ResumeSettings { calls, reports, .. } = &settings;
    let plan = Plan { calls, reports, screen, ledger_args: &ledger_args, role: Role::Begins };
    let spared = Spared::new(&request.ledger).recorded(&info).api(&settings.api);
    let found = Found { ledger, run, info, world: request.ledger.world.as_deref() };
    Ok(prepare(found, &settings, &spared, plan)?.carry_out()?)
}

/// Finds the run that is meant.
fn find(request: &ResumeRequest) -> Result<(Ledger, RunKey), Refusal> {
    let ledger = to_change(&request.ledger, request.lock_timeout)?;
    let run = match &request.run {
        Some(named) => unfinished(&ledger, named)?,
        None => match ledger.latest_unfinished()? {
            Some(latest) => latest,
            None => {
                let ledger_args = request.ledger.args(request.ledger.sandbox);
                return Err(nothing(&ledger.superseded()?, &ledger_args));
            }
        },
    };
    Ok((ledger, run))
}

fn unfinished(ledger: &Ledger, named: &str) -> Result<RunKey, Refusal> {
    let run = ledger.find_run(named)?;
    match ledger.is_unfinished(&run)? {
        true => Ok(run),
        false => Err(Refusal::nothing(format!("nothing to resume: run {} is finished", run.id))),
    }
}

/// How many superseded runs are named.
const NAMED: usize = 10;

/// There is nothing to resume but runs that were superseded: with which commands these are gone on with.
fn nothing(superseded: &[Unfinished], ledger_args: &str) -> Refusal {
    if superseded.is_empty() {
        return Refusal::nothing("nothing to resume: every run is finished");
    }
    let command = |Unfinished { run, pending, vms, .. }: &Unfinished| {
        format!("{pending} of {} left: v6fleet resume {}{ledger_args}", counted(*vms, "VM", "VMs"), run.id)
    };
    let begin =
        "nothing to resume: every run is finished, or superseded by a newer one of the same job. Superseded:";
    let more = superseded.len().saturating_sub(NAMED) as u64;
    let more = (more > 0)
        .then(|| format!("and {} (v6fleet runs lists all)", counted(more, "older run", "older runs")));
    let commands = superseded.iter().take(NAMED).map(command);
    let lines: Vec<String> = std::iter::once(begin.to_owned()).chain(commands).chain(more).collect();
    Refusal::nothing(lines.join("\n"))
}

/// A run that is unfinished.
struct Found<'a> {
    ledger: Ledger,
    run: RunKey,
    info: RunInfo,
    /// Where a rehearsal's world is remembered.
    world: Option<&'a Path>,
}

fn prepare<'a>(
    found: Found<'_>,
    settings: &ResumeSettings,
    spared: &Spared,
    plan: Plan<'a>,
) -> Result<Execution<'a>, Refusal> {
    let Found { ledger, run, info, world } = found;
    let sandbox = info.base_url == SANDBOX;
    let skips = ledger.course(&run)?.skipped > 0;
    outputs::spare(spared, plan.reports, skips)?;
    make_room(plan.calls.reconcile.concurrency.get(), sandbox)?;
    outputs::check(plan.reports)?;
    let access = Access::find(&settings.api, sandbox)?;
    if access.fingerprint() != info.key_fingerprint.as_deref() {
        warn!("this is not the API key that the run began with");
    }
    let job = NewRun {
        kind: info.kind,
        base_url: info.base_url,
        dialect: info.dialect,
        action: info.action,
        files: vec![],
        id_files: vec![],
        options: settings.options.clone(),
        key_fingerprint: access.fingerprint().map(str::to_owned),
        timeout: settings.api.timeout,
        terms: terms(&settings.calls),
    };
    let played = Played { file: settings.api.world.as_deref(), state: world };
    go_on(Continued { ledger, run, job }, &access, played, plan)
}
