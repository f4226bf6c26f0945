//! What was typed: clap types, no I/O.
//!
//! Every option of `run` is also an environment variable and a key of the configuration file;
//! clap itself gives them their order: flag, environment, file, default.

#![expect(clippy::doc_markdown, reason = "doc comments here are help texts")]

mod audit;
mod history;
mod sandbox;

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU32, ParseIntError};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Args, Command as Clap, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use audit::AuditArgs;
pub use history::{DiffArgs, HistoryArgs, ReadingArgs, RunsArgs};
pub use sandbox::{
    SandboxArgs, TypedLimitKind, TypedRateLimitForm, TypedRateLimitHeaders, TypedRetryAfter, TypedTimestamps,
};

use crate::api::{BaseUrl, ProxyUrl};
use crate::brake::Threshold;
use crate::inventory::{
    Action, Delimiter, Encoding, Format, Mapping, Path, READING, RackPattern, VmidPattern, WherePattern,
};
use crate::pace::Ceiling;
use crate::progress::ProgressMode;
use crate::shrink::Share;
use crate::text::nearest;

/// The verbs whose options the environment and the configuration file know.
const CONFIGURED: [&str; 3] = ["run", "resume", "report"];

/// The verbs that look back, of whose options the environment and the file know those in [`SHARED`] alone: what
/// narrows or writes a run's report must not narrow or write theirs.
const LOOKING_BACK: [&str; 4] = ["runs", "history", "diff", "audit"];

/// Beside those of [`READING`].
const SHARED: [&str; 5] = ["format", "sandbox", "lock-timeout", "base-url", "skip-invalid"];

/// The prefix of an option's environment variable.
pub const ENV: &str = "V6FLEET_";

/// Reconcile the routed IPv6 prefixes of a whole VM fleet
///
/// One call per VM, one truthful row per VM: created, unchanged, updated or failed.
#[derive(Debug, Parser)]
#[command(name = "v6fleet", version = version(), propagate_version = true, max_term_width = 100)]
#[command(after_help = "Start with a rehearsal, which needs no key and no network:\n  \
    v6fleet run inventories/demo.csv --sandbox")]
pub struct Cli {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Resume(Box<ResumeArgs>),
    Report(ReportArgs),
    Runs(RunsArgs),
    History(HistoryArgs),
    Diff(DiffArgs),
    Audit(Box<AuditArgs>),
    Sandbox(Box<SandboxArgs>),
    /// Print a completion script for a shell
    ///
    /// It completes commands, options and files, and from the ledger racks and run ids.
    #[command(after_help = "Examples:\n  \
        source <(v6fleet completions bash)     in ~/.bashrc\n  \
        source <(v6fleet completions zsh)      in ~/.zshrc, after compinit\n  \
        v6fleet completions fish | source      in ~/.config/fish/config.fish")]
    Completions {
        shell: Shell,
    },
    /// Print the manual page of v6fleet, or of one of its commands
    Man {
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Configuration file (TOML: option = value)
    /// [default: $XDG_CONFIG_HOME/v6fleet/config.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub config: Option<PathBuf>,

    /// File in which runs and last-known allocations are kept
    /// [default: $XDG_STATE_HOME/v6fleet/ledger.db, for a rehearsal sandbox.db beside it]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Common options")]
    pub ledger: Option<PathBuf>,

    /// Form of log lines
    #[arg(long, global = true, value_name = "FORM", default_value = "text", help_heading = "Common options")]
    pub log_format: LogFormat,

    /// Log more; twice for every call
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Common options")]
    pub verbose: u8,

    /// Log warnings only; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Common options")]
    pub quiet: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecapFormat {
    Text,
    Json,
}

/// Call the API once for every selected VM, and report what came of it
///
/// Reads the inventory, checks every row before the first call, makes one paced and retried call per VM, and writes
/// a report in which every selected VM has exactly one row. Whatever stops a run, nothing that was settled is lost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet run inventories/demo.csv --sandbox            a rehearsal: no key, no network\n  \
    v6fleet run fleet.csv --action allocate --dry-run     what would be called, and for how long\n  \
    v6fleet run fleet.csv --action allocate               nightly\n  \
    v6fleet run fleet.csv --action refresh_next_hop --rack dc1r28 --canary 5\n                                                        after a maintenance of one rack\n\n\
    Every option is also an environment variable (V6FLEET_RATE=20/s) and a key of the configuration\n\
    file (rate = \"20/s\"): flag, then environment, then file, then default. The API key comes from\n\
    --api-key-file, else $CREDENTIALS_DIRECTORY/api-key, else HOSTUP_API_KEY.\n\n\
    Exit codes: 0 complete, 1 internal error, 2 usage, configuration or inventory, 3 some VMs failed\n\
    or were skipped, 4 stopped by a brake, 5 --deadline or --max-wait, 6 the ledger is in use,\n\
    7 nothing selected, 8 key or certificate refused, 10 changes and 11 drift (with\n\
    --detailed-exitcode), 130 and 143 stopped by a signal.")]
pub struct RunArgs {
    /// Inventory files (CSV, JSON or JSON Lines); several make one fleet, - is standard input
    #[arg(required = true, value_name = "INVENTORY")]
    pub inventory: Vec<PathBuf>,

    /// What to ask of the API: allocate or refresh_next_hop [default: each row's own action]
    #[arg(long, value_name = "ACTION")]
    pub action: Option<Action>,

    /// Check the inventory and show what would be called; call nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Go on with the job's unfinished run, if there is one over the same inventory; else start anew
    #[arg(long)]
    pub resume: bool,

    /// Where the API is; plain http is for loopback addresses only
    #[arg(long, value_name = "URL", default_value = "https://cloud.hostup.se", help_heading = "Connection")]
    pub base_url: BaseUrl,

    #[command(flatten)]
    pub inventory_options: InventoryArgs,
    /// Call nothing if the inventory lost more of its VMs than this since its last complete run [default: none]
    #[arg(long, value_name = "P%", help_heading = "Inventory")]
    pub max_shrink: Option<Share>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// VMs that failed in a run, or were left without an outcome (with =, RUN is a run id) [default RUN: latest]
    #[arg(long, value_name = "RUN", num_args = 0..=1, require_equals = true, default_missing_value = "latest")]
    #[arg(help_heading = SELECTION)]
    pub only_failed: Option<String>,
    #[command(flatten)]
    pub pace: PaceArgs,
    #[command(flatten)]
    pub brakes: BrakeArgs,
    #[command(flatten)]
    pub reports: ReportingArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    pub rehearsal: RehearsalArgs,
}

/// Go on with a run that was stopped, or that died
///
/// Everything comes from the ledger: the selected VMs, the action and the base URL are the run's own, whatever has
/// become of the inventory; VMs that are settled are not called again. Pace, brakes and outputs are the run's own too
/// unless they are given anew. Brakes, deadline and attempts count from here on; the report is of the whole run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet resume                            the latest unfinished run\n  \
    v6fleet resume 20261123T02 --rate 5/s     a run by the start of its id, more gently\n\n\
    Schedulers that cannot know whether a run is unfinished use `v6fleet run --resume`.")]
pub struct ResumeArgs {
    /// Run id, or the start of one
    /// [default: the latest unfinished run that no newer one of the same job has superseded]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,

    #[command(flatten)]
    pub pace: PaceArgs,
    #[command(flatten)]
    pub brakes: BrakeArgs,
    #[command(flatten)]
    pub reports: ReportingArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    pub rehearsal: RehearsalArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Inventory")]
pub struct InventoryArgs {
    /// Format of the inventory: csv, json or jsonl [default: by file extension]
    #[arg(long, value_name = "FORMAT")]
    pub inventory_format: Option<Format>,

    /// What stands between the columns of CSV: auto, or one of , ; | tab [default: auto, by the header]
    #[arg(long, value_name = "DELIMITER")]
    pub delimiter: Option<Delimiter>,

    /// Encoding of files without a byte order mark, such as windows-1252 [default: UTF-8]
    #[arg(long, value_name = "LABEL")]
    pub encoding: Option<Encoding>,

    /// Where in a JSON document the VMs are, such as data.virtual_machines [default: vms, results or data]
    #[arg(long, value_name = "PATH")]
    pub items: Option<Path>,

    /// Read a field from another column or path, such as vmid=custom_fields.hostup_vmid (repeatable)
    #[arg(long, value_name = "FIELD=HEADER")]
    pub column: Vec<Mapping>,

    /// Go on without invalid rows; they are listed in skipped.csv beside the report
    #[arg(long)]
    pub skip_invalid: bool,
}

const SELECTION: &str =
    "Selection (repeatable; a leading ! excludes; different options and labels all must match)";

#[derive(Debug, Args)]
#[command(next_help_heading = SELECTION)]
pub struct SelectionArgs {
    /// VMs of these racks: the inventory's rack, or the one last seen where it has none
    #[arg(long, value_name = "GLOB")]
    pub rack: Vec<RackPattern>,

    /// VMs by id: 10000,10010-10020 or @FILE
    #[arg(long, value_name = "IDS")]
    pub vmid: Vec<VmidPattern>,

    /// VMs by a label or another column; LABEL=* is those that have one
    #[arg(long = "where", value_name = "LABEL=GLOB")]
    pub r#where: Vec<WherePattern>,

    /// The first N of the selected VMs only
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pace and retries")]
pub struct PaceArgs {
    /// Most calls that leave: N/s, N/m, N/h, or none
    #[arg(long, value_name = "RATE", default_value = "10/s")]
    pub rate: Ceiling,

    /// Begin as if no earlier run had found a limit of the API's
    #[arg(long)]
    pub forget_rate: bool,

    /// Most calls in flight
    #[arg(long, value_name = "N", default_value = "16", value_parser = slots)]
    pub concurrency: NonZeroU32,

    /// Most calls in flight for any one rack [default: none, but half of all while other racks wait]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub rack_concurrency: Option<NonZeroU32>,

    /// Attempts for a VM in all; a 429 is not an attempt
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one)]
    pub max_attempts: NonZeroU32,

    /// Longest that one call may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive)]
    pub timeout: Duration,

    /// Longest that connecting may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive)]
    pub connect_timeout: Duration,

    /// No new calls after this long [default: none]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub deadline: Option<Duration>,

    /// Longest that the API may keep the run from settling one more VM; then it stops
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = positive)]
    pub max_wait: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Brakes (\"more than\" stops; P% is of the selected VMs)")]
pub struct BrakeArgs {
    /// The first N VMs must all succeed before the rest starts; 0 for no such check
    /// [default: stop if the first 20 settled VMs all failed]
    #[arg(long, value_name = "N")]
    pub canary: Option<u32>,

    /// Stop when more VMs than this have failed [default: none]
    #[arg(long, value_name = "N|P%")]
    pub max_failed: Option<Threshold>,

    /// Stop when more VMs than this were created or updated [default: none]
    #[arg(long, value_name = "N|P%")]
    pub max_changed: Option<Threshold>,

    /// Stop when more VMs than this differ from what the inventory expects [default: none]
    #[arg(long, value_name = "N|P%")]
    pub max_drift: Option<Threshold>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub struct ReportingArgs {
    /// Write a report to this file: .csv, .json, .jsonl, .html, .junit.xml or .prom by its name (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    /// Write report.csv, report.json and report.html to DIR/RUN; none for no such directory
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub output_dir: PathBuf,

    /// Form of the recap on standard output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: RecapFormat,

    /// Progress: a bar on a terminal, log lines elsewhere
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,

    /// Exit with 10 if anything changed, with 11 if anything is not as the inventory expects
    #[arg(long)]
    pub detailed_exitcode: bool,

    /// Tell a monitor: URL/start, then URL if the exit code is 0, else URL/CODE, with the recap [default: none]
    #[arg(long, value_name = "URL")]
    pub ping_url: Option<BaseUrl>,

    /// Runs that stay in the ledger: at its end a run deletes older ones, but none that is pinned or can be resumed
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    pub keep_runs: NonZeroU32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// File that holds the API key
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Trust the PEM certificates in this file too
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Proxy to use [default: HTTPS_PROXY and NO_PROXY]; never for loopback
    #[arg(long, value_name = "URL")]
    pub proxy: Option<ProxyUrl>,

    /// Longest to wait for another run to end
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub lock_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Rehearsal")]
pub struct RehearsalArgs {
    /// Rehearse against an embedded API on loopback, with a ledger and a memory of its own
    #[arg(long)]
    pub sandbox: bool,

    /// World file of the rehearsal [default: a built-in world with every VM of the inventory]
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    pub world: Option<PathBuf>,
}

/// Write a run's report again, from the ledger
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet report                          the latest run's recap\n  \
    v6fleet report 20261123T02 -o mail.csv  a run by the start of its id, as CSV")]
pub struct ReportArgs {
    /// Run id, the start of one, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,

    /// Write a report to this file: .csv, .json, .jsonl, .html, .junit.xml or .prom by its name (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    /// Form of the recap on standard output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: RecapFormat,

    /// Look in the rehearsals' ledger
    #[arg(long)]
    pub sandbox: bool,
}

/// The version, and the commit where it is known.
fn version() -> String {
    let commit = option_env!("V6FLEET_COMMIT").map(|commit| format!(" ({commit})"));
    format!("{}{}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
}

/// The whole command line, each option of `run` with its environment variable.
pub fn command() -> Clap {
    let command = Cli::command().mut_args(with_env);
    let command = CONFIGURED
        .into_iter()
        .fold(command, |command, verb| command.mut_subcommand(verb, |verb| verb.mut_args(with_env)));
    let shared = |arg: Arg| if arg.get_long().is_some_and(is_shared) { with_env(arg) } else { arg };
    LOOKING_BACK
        .into_iter()
        .fold(command, |command, verb| command.mut_subcommand(verb, |verb| verb.mut_args(shared)))
}

fn is_configured(verb: &str) -> bool {
    CONFIGURED.contains(&verb) || LOOKING_BACK.contains(&verb)
}

fn is_shared(long: &str) -> bool {
    SHARED.contains(&long) || READING.contains(&long)
}

/// There is no such command.
#[derive(Debug, thiserror::Error)]
#[error("there is no command {0:?}; v6fleet --help lists them")]
pub struct UnknownCommand(String);

/// The command that a manual page is about: the whole program, or one verb of it.
pub fn manual(verb: Option<&str>) -> Result<Clap, UnknownCommand> {
    let mut whole = command();
    whole.build();
    match verb {
        None => Ok(whole),
        Some(verb) => {
            let known = whole.find_subcommand(verb).cloned();
            let command = known.ok_or_else(|| UnknownCommand(verb.to_owned()))?;
            Ok(command.display_name(format!("v6fleet-{verb}")))
        }
    }
}

fn with_env(arg: Arg) -> Arg {
    let Some(long) = arg.get_long().filter(|&long| long != "config" || arg.is_global_set()) else {
        return arg;
    };
    let name = variable(long);
    match arg.get_action() {
        // In an environment, 1 and yes are as common as true.
        ArgAction::SetTrue => arg.env(name).hide_env(true).value_parser(BoolishValueParser::new()),
        // Clap would take all of the variable for one value.
        ArgAction::Append => match env::var_os(name) {
            Some(values) => arg.default_values(lines(&values)),
            None => arg,
        },
        _ => arg.env(name).hide_env(true),
    }
}

/// The environment variable of an option: `V6FLEET_MAX_WAIT` of `max-wait`.
pub fn variable(long: &str) -> String {
    format!("{ENV}{}", long.replace('-', "_").to_uppercase())
}

/// The options that the environment and the configuration file know.
fn configured_options() -> BTreeSet<String> {
    let command = command();
    let verbs = command.get_subcommands().filter(|verb| is_configured(verb.get_name()));
    let args = command.get_arguments().chain(verbs.flat_map(Clap::get_arguments));
    args.filter_map(Arg::get_long).map(str::to_owned).collect()
}

/// The variables that any command knows.
pub fn variables() -> BTreeSet<String> {
    configured_options().iter().map(|long| variable(long)).collect()
}

/// The option that was most likely meant by a key of the configuration file.
pub fn near_option(key: &str) -> Option<String> {
    nearest(key, configured_options().iter().map(String::as_str)).map(str::to_owned)
}

/// The letter of an option that has one.
pub fn short_of(long: &str) -> Option<char> {
    let command = command();
    let all = command.get_subcommands().flat_map(Clap::get_arguments).chain(command.get_arguments());
    all.filter(|arg| arg.get_long() == Some(long)).find_map(Arg::get_short)
}

/// A repeatable option's values in its variable: one a line; an empty variable holds none.
fn lines(values: &OsStr) -> Vec<OsString> {
    let lines = values.as_bytes().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).map(|line| OsStr::from_bytes(line).to_owned()).collect()
}

/// Makes `values` the default of the option `key`. `None` where there is no such option.
pub fn with_default(command: Clap, key: &str, values: &[String]) -> Option<Clap> {
    let known = |command: &Clap| command.get_arguments().any(|arg| arg.get_long() == Some(key));
    let has =
        known(&command) || CONFIGURED.iter().any(|verb| command.find_subcommand(verb).is_some_and(known));
    let looking_back = LOOKING_BACK.into_iter().filter(|_| is_shared(key));
    let verbs = CONFIGURED.into_iter().chain(looking_back);
    let command = verbs.fold(set_default(command, key, values), |command, verb| {
        command.mut_subcommand(verb, |verb| set_default(verb, key, values))
    });
    (has && key != "config").then_some(command)
}

fn set_default(command: Clap, key: &str, values: &[String]) -> Clap {
    command.mut_args(|arg| match arg.get_long() == Some(key) && !has_lines(&arg) {
        true => arg.default_values(values.to_vec()),
        false => arg,
    })
}

/// Whether the environment has the values of a repeatable option.
fn has_lines(arg: &Arg) -> bool {
    let variable = arg.get_long().map(variable);
    matches!(arg.get_action(), ArgAction::Append) && variable.and_then(env::var_os).is_some()
}

/// Makes what a run recorded of itself the default of `resume`, before the file and after flags and environment.
pub fn with_recorded(command: Clap, key: &str, values: &[String]) -> Clap {
    command.mut_subcommand("resume", |verb| set_default(verb, key, values))
}

/// The most calls that may be in flight at all.
const SLOTS_CAP: u32 = 1024;

fn slots(text: &str) -> Result<NonZeroU32, String> {
    let slots = text.parse().ok().filter(|slots: &NonZeroU32| slots.get() <= SLOTS_CAP);
    slots.ok_or_else(|| format!("not a number from 1 to {SLOTS_CAP}"))
}

fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    let number: u32 = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    NonZeroU32::new(number).ok_or_else(|| "must be at least 1".into())
}

/// `30s`, `15m`, `1h30m`, or 0.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration: Option<jiff::SignedDuration> = text.parse().ok();
    duration
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| "not a duration such as 30s, 15m or 1h30m".into())
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".into()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn durations_are_written_with_a_unit() {
        for (text, seconds) in [("30s", 30.0), ("1h30m", 5400.0), ("500ms", 0.5), ("0", 0.0), ("0s", 0.0)] {
            assert!((duration(text).unwrap().as_secs_f64() - seconds).abs() < 1e-9, "{text}");
        }
        for text in ["", "30", "-1s", "1 fortnight", "s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive("0s").is_err());
    }

    #[test]
    fn a_number_that_must_not_be_0_says_so() {
        assert_eq!(at_least_one("7"), Ok(NonZeroU32::new(7).unwrap()));
        assert_eq!(at_least_one("0"), Err("must be at least 1".into()));
        assert!(at_least_one("-1").is_err() && at_least_one("many").is_err());
    }
}
