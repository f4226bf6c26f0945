//! Which options the environment and the configuration file know: clap itself gives them their order.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command as Clap, CommandFactory};

use super::arguments::Cli;
use crate::inventory::READING;
use crate::text::nearest;

/// The verbs whose options the environment and the configuration file know.
const CONFIGURED: [&str; 6] = ["run", "plan", "resume", "work", "check", "config"];

/// The verbs of whose options the environment and the file know those in [`SHARED`] alone: what narrows or writes a
/// run's report must not narrow or write theirs.
const SHARING: [&str; 7] = ["report", "status", "runs", "history", "diff", "audit", INVENTORY];

/// Its `--format` is another thing than that of all the others.
const INVENTORY: &str = "inventory";
const FORMAT: &str = "format";

/// Options that another verb means otherwise than `run`: the environment and the file say nothing of them.
const OTHERWISE: [(&str, &str); 2] = [(INVENTORY, FORMAT), ("runs", "base-url")];

/// Beside those of [`READING`].
const SHARED: [&str; 22] = [
    FORMAT,
    "sandbox",
    "world",
    "lock-timeout",
    "base-url",
    "api",
    "skip-invalid",
    "rate",
    "max-attempts",
    "timeout",
    "connect-timeout",
    "max-wait",
    "forget-rate",
    "concurrency",
    "rack-concurrency",
    "deadline",
    "canary",
    "max-failed",
    "max-drift",
    "api-key-file",
    "ca-file",
    "proxy",
];

/// The prefix of an option's environment variable.
pub const ENV: &str = "V6FLEET_";

/// The whole command line, each option of `run` with its environment variable.
pub fn command() -> Clap {
    let command = Cli::command().mut_args(with_env);
    let command = CONFIGURED
        .into_iter()
        .fold(command, |command, verb| command.mut_subcommand(verb, |verb| verb.mut_args(with_env)));
    SHARING.into_iter().fold(command, |command, verb| {
        let is_shared = |arg: &Arg| arg.get_long().is_some_and(|long| is_shared(verb, long));
        let shared = |arg: Arg| if is_shared(&arg) { with_env(arg) } else { arg };
        command.mut_subcommand(verb, |verb| verb.mut_args(shared))
    })
}

fn is_configured(verb: &str) -> bool {
    CONFIGURED.contains(&verb) || SHARING.contains(&verb)
}

/// Whether the environment and the file may hold this option for that verb.
pub fn is_configurable(verb: &str, long: &str) -> bool {
    CONFIGURED.contains(&verb) || is_shared(verb, long)
}

fn is_shared(verb: &str, long: &str) -> bool {
    let is_known = SHARED.contains(&long) || READING.contains(&long);
    SHARING.contains(&verb) && is_known && !OTHERWISE.contains(&(verb, long))
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
    let sharing = SHARING.into_iter().filter(|verb| is_shared(verb, key));
    let verbs = CONFIGURED.into_iter().chain(sharing);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
