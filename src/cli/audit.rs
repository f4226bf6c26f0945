//! What is typed after `v6fleet audit`.

use std::path::PathBuf;

use clap::Args;

use super::inventory::{InventoryArgs, SelectionArgs};
use super::run::{BrakeArgs, ConnectionArgs, EndpointArgs, PaceArgs, RehearsalArgs};
use super::values::RecapFormat;
use crate::audit::Severity;

/// Check what is known of a fleet, and change nothing
///
/// Compares what the ledger last saw of each VM with what the inventory expects, with the rest of its rack, and with
/// the prefixes of all VMs that the ledger knows. Every finding says how bad it is, with the evidence and its date.
///
/// With --live it looks at every selected VM first: pace, brakes, connection and --world are of these looks alone.
#[derive(Debug, Args)]
#[command(mut_arg("base_url", |arg| arg.help("Where the VMs were seen: the base URL of the runs")))]
#[command(mut_arg("sandbox", |arg| arg.help("Look in the rehearsals' ledger; with --live, at an embedded API on loopback")))]
#[command(mut_arg("skip_invalid", |arg| arg.help("Go on without invalid rows; they are only counted")))]
#[command(after_help = "Examples:\n  \
    v6fleet audit fleet.csv --whole-fleet                  all that is known, and what the inventory lost\n  \
    v6fleet audit plan.csv --rack 'dc1r*' -o audit.html    after a migration\n  \
    v6fleet audit fleet.csv --api v2 --live                what is there now, by the API's own word\n  \
    v6fleet audit fleet.csv --format json | jq -r '.findings[] | select(.severity == \"error\").vmid'\n\n\
    Exit codes: 0 no finding, 2 usage, configuration or inventory, 3 invalid rows were skipped, or VMs\n\
    could not be looked at, 7 nothing selected, 11 findings; where --live was stopped, those of plan.")]
pub struct AuditArgs {
    /// Inventory files (CSV, JSON or JSON Lines); several make one fleet, - is standard input
    #[arg(required = true, value_name = "INVENTORY")]
    pub inventory: Vec<PathBuf>,

    /// Look at every VM first, as plan does, and audit what is known then (--api v2 alone)
    #[arg(long)]
    pub live: bool,

    /// A VM that was not seen for more days than this is a finding
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub max_age: u32,

    /// Leave out what is less bad: notice, warning or error
    #[arg(long, value_name = "SEVERITY", default_value = "notice", value_parser = severity)]
    pub min_severity: Severity,

    /// The inventory is the whole fleet: a VM in the ledger that it has not is a finding
    #[arg(long, conflicts_with = "limit")]
    pub whole_fleet: bool,

    /// Write every finding to this file: .csv, .json or .jsonl by its name; or a page for people: .html;
    /// or FORMAT:FILE (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    /// Form of standard output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: RecapFormat,

    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
    #[command(flatten)]
    pub brakes: BrakeArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    pub rehearsal: RehearsalArgs,
    #[command(flatten)]
    pub inventory_options: InventoryArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
}

fn severity(text: &str) -> Result<Severity, &'static str> {
    Severity::from_word(text).ok_or("not a severity (notice, warning or error)")
}
