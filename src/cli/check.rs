//! What is typed after `v6fleet check`.

use clap::Args;

use super::run::RunArgs;

/// Check everything that could fail at night, and call nothing for any VM
///
/// Type `check` in place of `run`: with the same options, environment and configuration file it looks at the settings, the
/// key, the ledger, the places of the reports, the name service, the way to the API, its certificate and its clock, and
/// asks whether the key is taken (--api v2 alone can tell without a VM). With an inventory it checks all that --dry-run
/// does. It goes on after an error, says what could not be checked, and writes nothing.
#[derive(Debug, Args)]
#[command(mut_arg("inventory", |arg| arg.required(false)))]
#[command(mut_arg("dry_run", |arg| arg.hide(true)))]
#[command(mut_arg("format", |arg| arg.help("Form of what is found on standard output")))]
#[command(after_help = "Examples:\n  \
    v6fleet check                                    what a configuration comes to\n  \
    v6fleet check fleet.csv --action allocate        and with it tonight's fleet\n  \
    v6fleet check fleet.csv --sandbox                of a rehearsal: no key, no network\n  \
    v6fleet check --format json | jq -r '.checks[] | select(.level == \"error\").says'\n\n\
    Exit codes: 0, or the code that the run would end with as things are: 1 the disk is too full,\n\
    2 usage, configuration, inventory, key, ledger or reports, 3 invalid rows would be skipped, 4 every\n\
    call would fail, 5 the API cannot be reached, 6 the ledger is in use, 7 nothing selected, 8 key or\n\
    certificate refused.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub run: RunArgs,
}
