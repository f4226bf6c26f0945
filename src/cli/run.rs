//! What is typed after `v6fleet run`, `plan` and `resume`: the commands that call the API.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::inventory::{InventoryArgs, SELECTION, SelectionArgs};
use super::values::{
    RecapFormat, TypedFailOn, TypedNotifyOn, TypedProgress, at_least_one, duration, lease, positive, slots,
};
use crate::api::{BaseUrl, ProxyUrl, WebhookUrl};
use crate::brake::Threshold;
use crate::dialect::Dialect;
use crate::pace::Ceiling;
use crate::shrink::Share;
use crate::vm::Action;

/// Call the API once for every selected VM, and report what came of it
///
/// Reads the inventory, checks every row before the first call, makes one paced and retried call per VM, and writes
/// a report in which every selected VM has exactly one row. Whatever stops a run, nothing that was settled is lost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet run inventories/demo.csv --sandbox            a rehearsal: no key, no network\n  \
    v6fleet run fleet.csv --action allocate --dry-run     what would be called, and for how long\n  \
    v6fleet run fleet.csv --action allocate               nightly\n  \
    v6fleet run fleet.csv --action refresh_next_hop --rack dc1r28 --canary 5\n                                                        after a maintenance of one rack\n  \
    v6fleet run fleet.csv --api v2 --action allocate --only-planned\n                                                        what the latest plan said would change\n\n\
    Every option is also an environment variable (V6FLEET_RATE=20/s) and a key of the configuration\n\
    file (rate = \"20/s\"): flag, then environment, then file, then default. The API key comes from\n\
    --api-key-file, else $CREDENTIALS_DIRECTORY/api-key, else HOSTUP_API_KEY.\n\n\
    Exit codes: 0 complete, 1 internal error, 2 usage, configuration or inventory, 3 some VMs failed\n\
    (see --fail-on) or were skipped, 4 stopped by a brake, 5 --deadline or --max-wait, 6 the ledger is in use,\n\
    7 nothing selected, 8 key or certificate refused, 10 changes and 11 drift (with\n\
    --detailed-exitcode), 130 and 143 stopped by a signal.")]
pub struct RunArgs {
    #[command(flatten)]
    pub job: JobArgs,

    /// Check the inventory and show what would be called; call nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Stop when more VMs than this were created or updated [default: none]
    #[arg(long, value_name = "N|P%", help_heading = BRAKES)]
    pub max_changed: Option<Threshold>,

    /// Which failed VMs make a complete run exit with 3
    #[arg(long, value_name = "WHICH", default_value = "any", help_heading = "Reports")]
    pub fail_on: TypedFailOn,

    /// VMs that a plan said would change (with =, RUN is the plan's id) [default RUN: the latest plan]
    #[arg(long, value_name = "RUN", num_args = 0..=1, require_equals = true, default_missing_value = "latest")]
    #[arg(help_heading = SELECTION)]
    pub only_planned: Option<String>,

    /// Oldest plan that --only-planned goes by, from its start
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = positive)]
    #[arg(help_heading = SELECTION)]
    pub max_plan_age: Duration,
}

/// Look at every selected VM, and report what a run would change; change nothing
///
/// Asks the API for the state of each VM, with all the care of a run, and says of each what `run` would do: create,
/// update, keep, or nothing because it is blocked, with the API's own reason. Only v2 can be asked. The key needs no
/// scope but read:vm. What a plan has seen is what the run after it compares with.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    v6fleet plan inventories/demo-v2.csv --api v2 --sandbox     a rehearsal: no key, no network\n  \
    v6fleet plan fleet.csv --api v2 --action allocate           who would get a prefix\n  \
    v6fleet plan fleet.csv --api v2 --action refresh_next_hop   whose next hop would move\n  \
    v6fleet run fleet.csv --api v2 --action refresh_next_hop --only-planned\n                                                              these, and no others\n\n\
    Exit codes: those of run; with --detailed-exitcode 10 where something would change, 3 where a VM is\n\
    blocked or failed.")]
pub struct PlanArgs {
    #[command(flatten)]
    pub job: JobArgs,
}

/// What is to be done, with which VMs and how: of a run and of a plan.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// Inventory files (CSV, JSON or JSON Lines); several make one fleet, - is standard input
    #[arg(required = true, value_name = "INVENTORY")]
    pub inventory: Vec<PathBuf>,

    /// What to ask of the API: allocate or refresh_next_hop [default: each row's own action]
    #[arg(long, value_name = "ACTION")]
    pub action: Option<Action>,

    /// Go on with the job's unfinished run, if there is one over the same inventory; else start anew
    #[arg(long)]
    pub resume: bool,

    #[command(flatten)]
    pub endpoint: EndpointArgs,
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
    pub calling: CallingArgs,
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
    pub calling: CallingArgs,

    /// Stop when more VMs than this were created or updated [default: none]
    #[arg(long, value_name = "N|P%", help_heading = BRAKES)]
    pub max_changed: Option<Threshold>,

    /// Which failed VMs make a complete run exit with 3
    #[arg(long, value_name = "WHICH", default_value = "any", help_heading = "Reports")]
    pub fail_on: TypedFailOn,
}

/// How VMs are called, whatever they were found by.
#[derive(Debug, Args)]
pub struct CallingArgs {
    #[command(flatten)]
    pub pace: PaceArgs,
    #[command(flatten)]
    pub brakes: BrakeArgs,
    #[command(flatten)]
    pub reports: ReportingArgs,
    #[command(flatten)]
    pub end: EndArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    pub rehearsal: RehearsalArgs,
}

/// Which API is meant.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct EndpointArgs {
    /// Where the API is; plain http is for loopback addresses only
    #[arg(long, value_name = "URL", default_value = "https://cloud.hostup.se")]
    pub base_url: BaseUrl,

    /// Its dialect: v1, whose VMs have numbers, or v2, whose VMs are called vps_...
    #[arg(long, value_name = "DIALECT", default_value = "v1")]
    pub api: Dialect,
}

/// When calls leave, each for itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pace and retries")]
pub struct CallArgs {
    /// Most calls that leave: N/s, N/m, N/h, or none
    #[arg(long, value_name = "RATE", default_value = "10/s")]
    pub rate: Ceiling,

    /// Attempts for a VM in all; a 429 is not an attempt
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one)]
    pub max_attempts: NonZeroU32,

    /// Longest that one call may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive)]
    pub timeout: Duration,

    /// Longest that connecting may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive)]
    pub connect_timeout: Duration,

    /// Longest that the API, or the ledger's database, may keep the run from settling one more VM; then it stops
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = positive)]
    pub max_wait: Duration,
}

/// The same, and how many there are at once.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pace and retries")]
pub struct PaceArgs {
    #[command(flatten)]
    pub call: CallArgs,

    /// Begin as if no earlier run had found a limit of the API's
    #[arg(long)]
    pub forget_rate: bool,

    /// Most calls in flight
    #[arg(long, value_name = "N", default_value = "16", value_parser = slots)]
    pub concurrency: NonZeroU32,

    /// Most calls in flight for any one rack [default: none, but half of all while other racks wait]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub rack_concurrency: Option<NonZeroU32>,

    /// How long a worker that is not heard of keeps the VMs that it has taken, of a run that several machines work on
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = lease)]
    pub lease: Duration,

    /// No new calls after this long [default: none]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub deadline: Option<Duration>,
}

const BRAKES: &str = "Brakes (\"more than\" stops; P% is of the selected VMs)";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = BRAKES)]
pub struct BrakeArgs {
    /// The first N VMs must all succeed before the rest starts; 0 for no such check
    /// [default: stop if the first 20 settled VMs all failed]
    #[arg(long, value_name = "N")]
    pub canary: Option<u32>,

    /// Stop when more VMs than this have failed [default: none]
    #[arg(long, value_name = "N|P%")]
    pub max_failed: Option<Threshold>,

    /// Stop when more VMs than this differ from what the inventory expects [default: none]
    #[arg(long, value_name = "N|P%")]
    pub max_drift: Option<Threshold>,
}

/// Where reports go by default.
pub const OUTPUT_DIR: &str = "reports";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reports")]
pub struct ReportingArgs {
    /// Write a report to this file: .csv, .json, .jsonl, .html, .junit.xml or .prom by its name, or FORMAT:FILE, where
    /// - is standard output and the recap goes to standard error (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    /// Write report.csv, report.json and report.html to DIR/RUN; none for no such directory
    #[arg(long, value_name = "DIR", default_value = OUTPUT_DIR)]
    pub output_dir: PathBuf,

    /// Form of the recap on standard output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: RecapFormat,

    /// Progress: a bar on a terminal, log lines elsewhere
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: TypedProgress,

    /// Tell a monitor: URL/start, then URL if the exit code is 0, else URL/CODE, with the recap [default: none]
    #[arg(long, value_name = "URL")]
    pub ping_url: Option<BaseUrl>,

    /// Post how the run ended to this URL, as JSON with a text that chat programs show (repeatable) [default: none]
    #[arg(long, value_name = "URL")]
    pub notify_url: Vec<WebhookUrl>,

    /// When --notify-url is told
    #[arg(long, value_name = "WHEN", default_value = "trouble")]
    pub notify_on: TypedNotifyOn,
}

/// What a run's end comes to, whoever ends it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reports")]
pub struct EndArgs {
    /// Exit with 10 if anything changed, with 11 if anything is not as the inventory expects
    #[arg(long)]
    pub detailed_exitcode: bool,

    /// Runs that stay in the ledger: at its end a run deletes older ones, but none that is pinned or can be resumed
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    pub keep_runs: NonZeroU32,
}

/// The way to the API.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct AccessArgs {
    /// File that holds the API key
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Trust the PEM certificates in this file too
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Proxy to use [default: HTTPS_PROXY and NO_PROXY]; never for loopback
    #[arg(long, value_name = "URL")]
    pub proxy: Option<ProxyUrl>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    #[command(flatten)]
    pub access: AccessArgs,

    /// Longest to wait for another run to end
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub lock_timeout: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rehearsal")]
pub struct RehearsalArgs {
    /// Rehearse against an embedded API on loopback, with a ledger and a memory of its own
    #[arg(long)]
    pub sandbox: bool,

    /// World file of the rehearsal [default: a built-in world with every VM of the inventory]
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    pub world: Option<PathBuf>,
}
