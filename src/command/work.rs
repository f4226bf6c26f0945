//! `v6fleet work`: one more worker for a run that another process has begun.

use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use super::access::Access;
use super::descriptors::make_room;
use super::ended::Ended;
use super::execution::{Execution, Plan, Role};
use super::failure::{Failure, Refusal};
use super::job::terms;
use super::ledger::to_change;
use super::outputs;
use super::rehearsal::Callee;
use super::spared::Spared;
use crate::api::BaseUrl;
use crate::config::{CallSettings, LedgerSettings, WorkRequest, WorkSettings};
use crate::ledger::{Begun, Ledger, RunInfo, RunKey, SANDBOX};
use crate::progress::Screen;
use crate::text::escape_path;

/// How often somebody who waits for a run looks for one.
const POLL: Duration = Duration::from_secs(1);

/// Does what was asked for.
pub(super) fn work(request: &WorkRequest, screen: &Screen) -> Result<Ended, Failure> {
    let (ledger, run) = find(request)?;
    let info = ledger.run_info(&run).map_err(Refusal::from)?;
    let mut settings = request.of_run(&info.options, info.kind, info.dialect).map_err(Refusal::from)?;
    let found = Found { ledger, run, info };
    let callee = prepare(&found, &settings, &request.ledger)?;
    let lasts = join(&found, &settings.calls)?;
    let reconcile = &mut settings.calls.reconcile;
    reconcile.is_guest = true;
    reconcile.deadline = reconcile.deadline.map(|deadline| deadline.saturating_sub(lasts));
    let WorkSettings { calls, reports, .. } = &settings;
    let plan = Plan { calls, reports, screen, ledger_args: &request.ledger.args(false), role: Role::Joins };
    let Found { ledger, run, .. } = found;
    let start = ledger.start(&run).map_err(Refusal::from)?;
    Ok(Execution::prepare(plan, ledger, Begun { run, start }, callee)?.carry_out()?)
}

/// The latest run that is under way, or the one that was named.
fn find(request: &WorkRequest) -> Result<(Ledger, RunKey), Refusal> {
    refuse_file(&request.ledger, "end that one and begin it on a database")?;
    let ledger = match request.wait {
        // The first run of all may be what is waited for.
        true => Ledger::open(&request.ledger.location, Duration::ZERO)?,
        false => to_change(&request.ledger, Duration::ZERO)?,
    };
    let mut is_told = false;
    loop {
        if let Some(run) = under_way(&ledger, request.run.as_deref())? {
            return Ok((ledger, run));
        }
        if !request.wait {
            return Err(Refusal::nothing(
                "no run is under way: begin one with v6fleet run, go on with one with v6fleet resume, or --wait",
            ));
        }
        if !is_told {
            info!("waiting for a run");
            is_told = true;
        }
        thread::sleep(POLL);
    }
}

/// A ledger that several cannot share is refused; `instead` is what to do there.
pub(super) fn refuse_file(settings: &LedgerSettings, instead: &str) -> Result<(), Refusal> {
    match settings.location.file() {
        None => Ok(()),
        Some(file) => Err(Refusal::usage(anyhow::anyhow!(
            "{}: a ledger in a file is one process's, and nobody else can work on its run or stop it here; several machines \
             share one in PostgreSQL (--ledger postgres://HOST/DATABASE): {instead}",
            escape_path(file),
        ))),
    }
}

/// The latest run that somebody works on, or the one that was named.
pub(super) fn under_way(ledger: &Ledger, named: Option<&str>) -> Result<Option<RunKey>, Refusal> {
    Ok(match named {
        Some(named) => Some(ledger.find_run(named)?),
        None => ledger.under_way(vec![])?.into_iter().max().map(|id| RunKey { id }),
    })
}

/// A run that others carry out.
struct Found {
    ledger: Ledger,
    run: RunKey,
    info: RunInfo,
}

/// Whom to call, once nothing is wrong with how it was asked for.
fn prepare(found: &Found, settings: &WorkSettings, ledger: &LedgerSettings) -> Result<Callee, Refusal> {
    let Found { run, info, .. } = found;
    if info.base_url == SANDBOX {
        let error =
            anyhow::anyhow!("run {} is a rehearsal, and its API is within the process that began it", run.id);
        return Err(Refusal::usage(error));
    }
    make_room(settings.calls.reconcile.concurrency.get(), false)?;
    let spared = Spared::new(ledger).recorded(info).api(&settings.api);
    outputs::spare(&spared, &settings.reports, found.ledger.course(run)?.skipped > 0)?;
    outputs::check(&settings.reports)?;
    let access = Access::find(&settings.api, false)?;
    if access.fingerprint() != info.key_fingerprint.as_deref() {
        warn!("this is not the API key that the run began with");
    }
    let base_url: BaseUrl = info.base_url.parse().map_err(Refusal::usage)?;
    Ok(Callee::real(access.api(&base_url, info.dialect)?))
}

/// Becomes a worker of the run, and returns how long that has been under way.
fn join(Found { ledger, run, .. }: &Found, calls: &CallSettings) -> Result<Duration, Refusal> {
    let lasts = ledger.join(run, terms(calls))?;
    let lasts =
        lasts.ok_or_else(|| Refusal::nothing(format!("run {} is not under way: it has ended", run.id)))?;
    info!(run = run.id, "one more worker");
    Ok(lasts)
}
