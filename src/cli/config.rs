//! What is typed after `v6fleet config`.

use clap::Args;

use super::run::RunArgs;

/// Show every setting that a run would have, and where it was written
///
/// Type `config` in place of `run`: with the same options, environment and configuration file it shows what would be in
/// force, and calls nothing. Of the API key it says where it was found, and its fingerprint, never the key; passwords
/// and tokens in URLs are left out.
#[derive(Debug, Args)]
#[command(mut_arg("inventory", |arg| arg.required(false)))]
#[command(after_help = "Examples:\n  \
    v6fleet config                              what the environment and the file come to\n  \
    v6fleet config --rate 20/s                  and what a flag makes of it\n  \
    v6fleet config --format json | jq -r '.settings[] | select(.source != \"default\").name'\n\n\
    Exit codes: 0, 2 what is wrong in the command line, the environment or the file.")]
pub struct ConfigArgs {
    #[command(flatten)]
    pub run: RunArgs,
}
