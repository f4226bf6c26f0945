//! `v6fleet resume`: a run goes on where it stopped, from the ledger alone.

use tracing::{info, warn};

use super::descriptors;
use super::execution::Execution;
use super::outputs::spare;
use super::ping::Ended;
use super::spared::Spared;
use super::target::{Target, api_key, check_reports, common_args, ledger_to_change, world};
use super::{BeforeTheFirstCall, CommandError};
use crate::api::BaseUrl;
use crate::cli::{Command, RehearsalArgs, ResumeArgs};
use crate::config::Config;
use crate::ledger::{Ledger, NewRun, RunKey, SANDBOX, Unfinished};
use crate::progress::Screen;
use crate::text::counted;

/// Does what the command line says.
pub(super) fn resume(config: &Config, typed: &ResumeArgs, screen: &Screen) -> Result<Ended, CommandError> {
    let (sandbox, wait) = (typed.rehearsal.sandbox, typed.connection.lock_timeout);
    let ledger = ledger_to_change(&config.cli.common, sandbox, wait).before_the_first_call()?;
    let run = find(&ledger, typed, &common_args(&config.cli.common, sandbox))?;
    let info = ledger.run_info(&run).before_the_first_call()?;
    let config = config.with_recorded(&info.options)?;
    let Command::Resume(args) = &config.cli.command else {
        return Err(CommandError::nothing("not a resume"));
    };
    let sandbox = info.base_url == SANDBOX;
    let spared = Spared::new(&config.cli.common, sandbox)?.recorded(&info);
    let skips = ledger.course(&run).before_the_first_call()?.skipped > 0;
    spare(&spared.connection(&args.connection, &args.rehearsal), &args.reports, skips)?;
    descriptors::make_room(args.pace.concurrency.get(), info.base_url == SANDBOX)?;
    check_reports(&args.reports)?;
    let key = api_key(&args.connection, sandbox)?;
    let fingerprint = (!sandbox).then(|| key.fingerprint());
    if fingerprint != info.key_fingerprint {
        warn!("this is not the API key that the run began with");
    }
    let job = NewRun {
        base_url: info.base_url,
        action: info.action,
        files: vec![],
        id_files: vec![],
        options: config.options.clone(),
        key_fingerprint: fingerprint,
        timeout: args.pace.timeout,
    };
    let execution = Execution {
        pace: &args.pace,
        brakes: &args.brakes,
        reports: &args.reports,
        screen,
        common_args: &common_args(&config.cli.common, sandbox),
    };
    let target = Target { connection: &args.connection, pace: &args.pace, key: &key };
    go_on(ledger, &run, &job, &target, &args.rehearsal, &execution)
}

fn find(ledger: &Ledger, args: &ResumeArgs, common_args: &str) -> Result<RunKey, CommandError> {
    let Some(named) = &args.run else {
        return match ledger.latest_unfinished().before_the_first_call()? {
            Some(latest) => Ok(latest),
            None => Err(nothing(&ledger.superseded().before_the_first_call()?, common_args)),
        };
    };
    let run = ledger.find_run(named).before_the_first_call()?;
    match ledger.is_unfinished(&run).before_the_first_call()? {
        true => Ok(run),
        false => Err(CommandError::nothing(format!("nothing to resume: run {} is finished", run.id))),
    }
}

/// How many superseded runs are named.
const NAMED: usize = 10;

/// There is nothing to resume but runs that were superseded: with which commands these are gone on with.
fn nothing(superseded: &[Unfinished], common_args: &str) -> CommandError {
    if superseded.is_empty() {
        return CommandError::nothing("nothing to resume: every run is finished");
    }
    let command = |Unfinished { run, left, vms, .. }: &Unfinished| {
        format!("{left} of {} left: v6fleet resume {}{common_args}", counted(*vms, "VM", "VMs"), run.id)
    };
    let begin =
        "nothing to resume: every run is finished, or superseded by a newer one of the same job. Superseded:";
    let more = superseded.len().saturating_sub(NAMED) as u64;
    let more = (more > 0)
        .then(|| format!("and {} (v6fleet runs lists all)", counted(more, "older run", "older runs")));
    let commands = superseded.iter().take(NAMED).map(command);
    let lines: Vec<String> = std::iter::once(begin.to_owned()).chain(commands).chain(more).collect();
    CommandError::nothing(lines.join("\n"))
}

/// Goes on with `run`; what `job` has of it that may change is noted.
pub(super) fn go_on(
    ledger: Ledger,
    run: &RunKey,
    job: &NewRun,
    target: &Target<'_>,
    rehearsal: &RehearsalArgs,
    execution: &Execution<'_>,
) -> Result<Ended, CommandError> {
    let begin = |ledger: &Ledger| {
        ledger.resume(run, job).before_the_first_call()?;
        info!(run = run.id, "run goes on");
        Ok::<_, CommandError>(())
    };
    if job.base_url != SANDBOX {
        let base_url: BaseUrl = job.base_url.parse().map_err(CommandError::usage)?;
        let api = target.api(&base_url)?;
        begin(&ledger)?;
        return execution.carry_out(ledger, run, &api);
    }
    let mut world = world(rehearsal)?;
    if rehearsal.world.is_none() {
        ledger.each_vm(run, &mut |vmid, rack| world.take_in(vmid, rack)).before_the_first_call()?;
    }
    let rehearsal = target.rehearse(ledger.path(), world)?;
    begin(&ledger)?;
    execution.carry_out(ledger, run, &rehearsal.api)
}
