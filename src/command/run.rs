//! `v6fleet run`: the inventory into the ledger, then every VM called.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use tracing::{info, warn};

use super::execution::{Execution, quoted};
use super::staging::{Past, Selected, Stage, Staged, stage};
use super::{BeforeTheFirstCall, CommandError};
use crate::api::{Api, BaseUrl, Endpoint};
use crate::cli::{CommonArgs, ConnectionArgs, PaceArgs, ReportingArgs, RunArgs};
use crate::config::{ApiKey, ledger_path, output_dir};
use crate::inventory::{InvalidRow, Vm};
use crate::ledger::{Draft, Ledger, LedgerError, NewRun, RunKey, SANDBOX, beside};
use crate::progress::Screen;
use crate::report::check_outputs;
use crate::sandbox::{Running, Sandbox, Settings, World};

/// Does what `args` say. Returns the exit code.
pub(super) fn run(
    common: &CommonArgs,
    args: &RunArgs,
    options: Map<String, Value>,
    screen: &Screen,
) -> Result<u8, CommandError> {
    check_reports(&args.reports)?;
    let key = api_key(&args.connection)?;
    // Made once before anything is written, so that a key, certificate or proxy that is no use is found now.
    Api::new(&endpoint(&args.connection, &args.pace, &args.connection.base_url, &key)?)?;
    let path = ledger_path(common, args.connection.sandbox)?;
    let ledger = Ledger::open(&path, args.connection.lock_timeout).before_the_first_call()?;
    let (run, world) = record(&ledger, args, options, &key)?;
    let rehearsal = world.map(|world| rehearse(&path, world)).transpose()?;
    let base_url = match &rehearsal {
        Some(rehearsal) => rehearsal.base_url().parse().map_err(CommandError::internal)?,
        None => args.connection.base_url.clone(),
    };
    let api = Api::new(&endpoint(&args.connection, &args.pace, &base_url, &key)?)?;
    let execution = Execution {
        pace: &args.pace,
        brakes: &args.brakes,
        reports: &args.reports,
        screen,
        ledger_args: &ledger_args(common, args.connection.sandbox),
    };
    execution.carry_out(ledger, &run, &api)
}

/// Finds now what would keep the reports from being written at the end.
fn check_reports(reports: &ReportingArgs) -> Result<(), CommandError> {
    if let Some(dir) = output_dir(&reports.output_dir) {
        let made = fs::create_dir_all(dir);
        made.map_err(|error| {
            CommandError::usage(anyhow::Error::new(error).context(dir.display().to_string()))
        })?;
        check_outputs(&[dir.join("report.csv")]).before_the_first_call()?;
    }
    check_outputs(&reports.output).before_the_first_call()
}

fn api_key(connection: &ConnectionArgs) -> Result<ApiKey, CommandError> {
    let key = match connection.sandbox {
        true => ApiKey::of_sandbox(),
        false => ApiKey::find(connection.api_key_file.as_deref())?,
    };
    info!(source = key.source, fingerprint = key.fingerprint(), "API key");
    if key.exposed {
        warn!(file = key.source, "everybody on this machine may read the API key file");
    }
    Ok(key)
}

fn endpoint(
    connection: &ConnectionArgs,
    pace: &PaceArgs,
    base_url: &BaseUrl,
    key: &ApiKey,
) -> Result<Endpoint, CommandError> {
    let unreadable = |path: &Path| {
        let context = path.display().to_string();
        move |error| CommandError::usage(anyhow::Error::new(error).context(context))
    };
    let roots = connection.ca_file.as_deref().map(|path| fs::read(path).map_err(unreadable(path)));
    Ok(Endpoint {
        base_url: base_url.clone(),
        key: key.secret.clone(),
        timeout: pace.timeout,
        connect_timeout: pace.connect_timeout,
        pool: pace.concurrency as usize,
        extra_roots: roots.transpose()?.unwrap_or_default(),
        proxy: connection.proxy.clone(),
    })
}

/// Writes the whole run into the ledger; with `--sandbox`, also makes the world that it is rehearsed in.
fn record(
    ledger: &Ledger,
    args: &RunArgs,
    options: Map<String, Value>,
    key: &ApiKey,
) -> Result<(RunKey, Option<World>), CommandError> {
    let connection = &args.connection;
    let base_url = if connection.sandbox { SANDBOX } else { connection.base_url.as_str() };
    ledger.check_kind(base_url)?;
    let only_failed = args.selection.only_failed.as_deref().map(|run| ledger.find_run(run)).transpose()?;
    let past = Past { ledger: Some(ledger), base_url, only_failed };
    let draft = ledger.draft(&NewRun {
        base_url: base_url.to_owned(),
        action: args.action,
        files: args.inventory.iter().map(|path| identity(path)).collect(),
        options,
        key_fingerprint: (!connection.sandbox).then(|| key.fingerprint()),
        timeout: args.pace.timeout,
    })?;
    let mut recording = Recording { draft, world: world(connection)?, takes_in: connection.world.is_none() };
    let Staged { fleet, selected, skipped, warnings } = stage(args, &past, &mut recording)?;
    for warning in &warnings {
        warn!("{warning}");
    }
    let Recording { draft, world, .. } = recording;
    let run = draft.commit(&fleet.files, &fleet.label_columns, &warnings).before_the_first_call()?;
    info!(run = run.id, selected, skipped, "run begins");
    Ok((run, world))
}

/// What tells an inventory file from any other: where it is, not what is in it.
fn identity(path: &Path) -> String {
    let absolute = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    absolute.display().to_string()
}

fn world(connection: &ConnectionArgs) -> Result<Option<World>, CommandError> {
    match (&connection.world, connection.sandbox) {
        (_, false) => Ok(None),
        (None, true) => Ok(Some(World::built_in())),
        (Some(path), true) => World::read(path).map(Some).map_err(CommandError::usage),
    }
}

fn rehearse(ledger: &Path, world: World) -> Result<Running, CommandError> {
    let state = Some(beside(ledger, ".world"));
    let running =
        Sandbox::start(Settings { state, ..Settings::default() }, world).map_err(CommandError::usage)?;
    info!(url = running.base_url(), "rehearsal: the embedded API answers, and nothing else is called");
    Ok(running)
}

/// The arguments that name the ledger, for commands shown to the user.
fn ledger_args(common: &CommonArgs, sandbox: bool) -> String {
    let ledger =
        common.ledger.as_ref().map(|path| format!(" --ledger {}", quoted(&path.display().to_string())));
    let sandbox = if sandbox { " --sandbox" } else { "" };
    format!("{}{sandbox}", ledger.unwrap_or_default())
}

struct Recording<'a> {
    draft: Draft<'a>,
    world: Option<World>,
    /// The built-in world has every VM of the inventory; one from a file has its own.
    takes_in: bool,
}

impl Stage for Recording<'_> {
    fn select(&mut self, selected: &Selected<'_>) -> Result<(), LedgerError> {
        self.draft.add(selected.vm, selected.action, selected.rack)
    }

    fn skip(&mut self, row: &InvalidRow) -> Result<(), LedgerError> {
        self.draft.skip(&row.file, row.line, &row.column, &row.reason)
    }

    fn see(&mut self, vm: &Vm) {
        if let (Some(world), true) = (&mut self.world, self.takes_in) {
            world.take_in(vm.id.as_str(), vm.expected.rack_id.as_deref());
        }
    }
}
