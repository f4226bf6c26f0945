//! What is typed after `v6fleet inventory`.

use std::path::PathBuf;

use clap::Args;

use super::run::{AccessArgs, CallArgs, EndpointArgs, RehearsalArgs};
use super::values::TypedListFormat;

/// List the account's VMs, as an inventory that `run` reads
///
/// Reads the API's own list, page by page (--api v2 alone has one, and the key needs the scope read:vm). Columns are
/// vmid, name, primary_ip, service_status, power_state, os, is_payg, tags, pending_maintenance and
/// pending_maintenance_has_deadline; what the API does not say is empty. A list that is not whole is none: no file is
/// replaced, and nothing stands on standard output.
#[derive(Debug, Args)]
#[command(mut_arg("max_attempts", |arg| arg.help("Attempts for a page in all; a 429 is not an attempt")))]
#[command(mut_arg("max_wait", |arg| arg.help("Longest that the API may keep one more page back; then the list is given up")))]
#[command(mut_arg("sandbox", |arg| arg.help("List what an embedded API on loopback has")))]
#[command(mut_arg("world", |arg| arg.help("World file of the rehearsal [default: a built-in world that lists the demo fleet]")))]
#[command(after_help = "Examples:\n  \
    v6fleet inventory --api v2 --sandbox                what it looks like: no key, no network\n  \
    v6fleet inventory --api v2 -o fleet.csv &&          every night\n    \
    v6fleet run fleet.csv --api v2 --action allocate\n  \
    v6fleet inventory --api v2 | v6fleet run - --api v2 --action allocate\n  \
    v6fleet inventory --api v2 --format jsonl | jq -r 'select(.pending_maintenance).vmid'\n\n\
    The list is read one page of 100 VMs after another, at --rate at most: 25,000 VMs at 10/s take 25 s.\n\n\
    Exit codes: 0 the list is whole, 1 it is not, 2 usage or configuration, 5 --max-wait, 8 key or\n\
    certificate refused, 130 and 143 stopped by a signal.")]
pub struct ListingArgs {
    /// Write the inventory to this file: .csv, .json or .jsonl by its name, or FORMAT:FILE (repeatable) [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,

    /// Form of standard output
    #[arg(long, value_name = "FORM", default_value = "csv", conflicts_with = "output")]
    pub format: TypedListFormat,

    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub call: CallArgs,
    #[command(flatten)]
    pub rehearsal: RehearsalArgs,
}
