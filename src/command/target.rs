//! Whom a run calls, with which key, and where its reports go: what `run` and `resume` find out first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use super::{BeforeTheFirstCall, CommandError};
use crate::api::{Api, BaseUrl, Endpoint};
use crate::cli::{CommonArgs, ConnectionArgs, PaceArgs, RehearsalArgs, ReportingArgs};
use crate::config::{ApiKey, ledger_path, output_dir};
use crate::ledger::{Ledger, SANDBOX, beside};
use crate::report::{check_outputs, sweep};
use crate::sandbox::{Running, Sandbox, Settings, World};
use crate::text::escape;
use crate::text::quoted;

/// How the API is reached.
pub(super) struct Target<'a> {
    pub(super) connection: &'a ConnectionArgs,
    pub(super) pace: &'a PaceArgs,
    pub(super) key: &'a ApiKey,
}

/// The embedded API, and a client of it.
pub(super) struct Rehearsal {
    pub(super) api: Api,
    #[expect(dead_code, reason = "the server lasts as long as this")]
    running: Running,
}

impl Target<'_> {
    pub(super) fn api(&self, base_url: &BaseUrl) -> Result<Api, CommandError> {
        let endpoint = Endpoint {
            base_url: base_url.clone(),
            key: self.key.secret.clone(),
            timeout: self.pace.timeout,
            connect_timeout: self.pace.connect_timeout,
            pool: self.pace.concurrency.get() as usize,
            extra_roots: extra_roots(self.connection)?,
            proxy: self.connection.proxy.clone(),
        };
        Ok(Api::new(&endpoint)?)
    }

    /// Starts the embedded API; what it remembers lies beside the ledger.
    pub(super) fn rehearse(&self, ledger: &Path, world: World) -> Result<Rehearsal, CommandError> {
        let state = Some(beside(ledger, ".world"));
        let settings = Settings { state, seed: fastrand::u64(..), ..Settings::default() };
        let running = Sandbox::start(settings, world).map_err(CommandError::usage)?;
        let url = running.base_url();
        info!(url, "rehearsal: the embedded API answers, and nothing else is called");
        let api = self.api(&url.parse().map_err(CommandError::internal)?)?;
        Ok(Rehearsal { api, running })
    }
}

/// Opens the ledger for reading. `--sandbox` asks for a rehearsal's, and is given no other.
pub(super) fn ledger_to_read(common: &CommonArgs, sandbox: bool) -> Result<Ledger, CommandError> {
    let ledger = Ledger::open_read_only(&ledger_path(common, sandbox)?)?;
    if sandbox {
        ledger.check_kind(SANDBOX)?;
    }
    Ok(ledger)
}

/// Opens that ledger for writing, waiting so long for another process; where there is none, none is made.
pub(super) fn ledger_to_change(
    common: &CommonArgs,
    sandbox: bool,
    wait: Duration,
) -> Result<Ledger, CommandError> {
    let path = ledger_to_read(common, sandbox)?.path().to_owned();
    Ledger::open(&path, wait).before_the_first_call()
}

/// The certificates to trust beside the system's.
pub(super) fn extra_roots(connection: &ConnectionArgs) -> Result<Option<Vec<u8>>, CommandError> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| unusable("--ca-file", path, error));
    connection.ca_file.as_ref().map(read).transpose()
}

/// What an option names cannot be used: which option, what it names, and why.
fn unusable(option: &str, path: &Path, error: impl Into<anyhow::Error>) -> CommandError {
    let named = format!("{option} {}", escape(&path.display().to_string()));
    CommandError::usage(error.into().context(named))
}

/// The world that a rehearsal is played in.
pub(super) fn world(rehearsal: &RehearsalArgs) -> Result<World, CommandError> {
    match &rehearsal.world {
        None => Ok(World::built_in()),
        Some(path) => World::read(path).map_err(CommandError::usage),
    }
}

/// The key of the API; a rehearsal has one of its own.
pub(super) fn api_key(connection: &ConnectionArgs, sandbox: bool) -> Result<ApiKey, CommandError> {
    let key = match sandbox {
        true => ApiKey::of_sandbox(),
        false => ApiKey::find(connection.api_key_file.as_deref())?,
    };
    if !sandbox {
        info!(source = key.source, fingerprint = key.fingerprint(), "API key");
    }
    if key.exposed {
        warn!(file = key.source, "everybody on this machine may read the API key file");
    }
    Ok(key)
}

/// Finds now what would keep the reports from being written at the end.
pub(super) fn check_reports(reports: &ReportingArgs) -> Result<(), CommandError> {
    if let Some(dir) = output_dir(&reports.output_dir) {
        fs::create_dir_all(dir).map_err(|error| unusable("--output-dir", dir, error))?;
        sweep_runs(dir);
        check_outputs(&[dir.join("report.csv")]).map_err(|error| unusable("--output-dir", dir, error))?;
    }
    check_outputs(&reports.output).before_the_first_call()
}

/// Removes what processes that were killed left beside the reports of their runs.
fn sweep_runs(dir: &Path) {
    let runs = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    runs.for_each(|run| sweep(&run.path()));
}

/// The arguments that name the ledger and the configuration, for commands shown to the user.
pub(super) fn common_args(common: &CommonArgs, sandbox: bool) -> String {
    let named = [("config", &common.config), ("ledger", &common.ledger)];
    let named = named.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
    let named = named.map(|(name, path)| format!(" --{name} {}", quoted(&path.display().to_string())));
    let sandbox = sandbox.then(|| " --sandbox".to_owned());
    named.chain(sandbox).collect()
}
