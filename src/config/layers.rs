//! What stands behind a command line: the environment, a run's own options and the configuration file, one under another.
//!
//! Clap takes them in as defaults and gives them their order. Which layer a value came from is told here alone.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};
use serde_json::{Map, Value};

use super::environment;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::refusal::{Refused, discreet, without_secrets};
use super::setting::{Setting, Source, values};
use crate::cli::{self, Cli};

/// A command line that clap has understood.
pub(super) struct Parsed {
    pub(super) cli: Cli,
    /// Every option of the command that has a value.
    pub(super) in_force: Vec<Setting>,
}

/// All that says what an option's value is.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    pub(super) args: Vec<OsString>,
    /// What a run recorded of itself: behind flags and environment, before the file.
    recorded: Map<String, Value>,
    file: Option<ConfigFile>,
}

/// As one types an option; what is recorded of a switch is that it is on.
fn typed(name: &str, value: &str) -> String {
    if value == "true" { format!("--{name}") } else { format!("--{name}={value}") }
}

impl Layers {
    /// Finds the configuration file, and parses the command line over all that is there.
    pub(super) fn read(args: Vec<OsString>) -> Result<(Self, Parsed), ConfigError> {
        let mut command = cli::command();
        let matches = match command.try_get_matches_from_mut(&args) {
            Err(error) if error.kind() == ErrorKind::DisplayVersion => return Err(error.into()),
            matches => matches.ok(),
        };
        // What is missing among the arguments may be in the file.
        let lenient = || cli::command().ignore_errors(true).try_get_matches_from(&args).ok();
        let named = match &matches {
            Some(matches) => named_config(matches),
            None => lenient().as_ref().and_then(named_config),
        };
        let file = ConfigFile::find(named)?;
        let layers = Self { args, recorded: Map::new(), file };
        let parsed = match (matches, &layers.file) {
            (Some(matches), None) => layers.parsed(&command, &matches)?,
            _ => layers.parse()?,
        };
        Ok((layers, parsed))
    }

    /// The same command line, where a run's own options stand in for those that are not given anew.
    pub(super) fn over_recorded(&self, recorded: &Map<String, Value>) -> Result<Parsed, ConfigError> {
        Self { recorded: recorded.clone(), ..self.clone() }.parse()
    }

    /// A run's own options of these `names`, as `resume` takes them where they are typed: nothing says otherwise.
    pub(super) fn as_typed(recorded: &Map<String, Value>, names: &[&str]) -> Result<Parsed, ConfigError> {
        let recorded = names.iter().filter_map(|name| Some((name, recorded.get(*name)?)));
        let typed = recorded
            .flat_map(|(name, value)| values(value).into_iter().map(move |value| typed(name, &value).into()));
        let args = ["v6fleet", "resume"].map(OsString::from).into_iter().chain(typed).collect();
        Self { args, recorded: Map::new(), file: None }.parse()
    }

    fn parse(&self) -> Result<Parsed, ConfigError> {
        let mut command = cli::command();
        if let Some(file) = &self.file {
            command = file.defaults_of(command)?;
        }
        for (key, value) in &self.recorded {
            command = cli::with_recorded(command, key, &values(value));
        }
        let matches = command.try_get_matches_from_mut(&self.args).map_err(|error| self.blame(error))?;
        self.parsed(&command, &matches)
    }

    fn parsed(&self, command: &clap::Command, matches: &ArgMatches) -> Result<Parsed, ConfigError> {
        let cli = Cli::from_arg_matches(matches)?;
        let in_force = matches.subcommand().map(|(name, verb)| self.in_force(command, name, verb));
        Ok(Parsed { cli, in_force: in_force.unwrap_or_default() })
    }

    fn in_force(&self, command: &clap::Command, verb: &str, matches: &ArgMatches) -> Vec<Setting> {
        let own = command.find_subcommand(verb).into_iter().flat_map(clap::Command::get_arguments);
        let own: Vec<&Arg> = own.collect();
        // Those that every verb has may be the verb's own too.
        let of_all = command.get_arguments().filter(|arg| own.iter().all(|own| own.get_id() != arg.get_id()));
        own.iter().copied().chain(of_all).filter_map(|arg| self.setting(verb, arg, matches)).collect()
    }

    /// `None` where the option has no value.
    fn setting(&self, verb: &str, arg: &Arg, matches: &ArgMatches) -> Option<Setting> {
        let id = arg.get_id().as_str();
        let written = matches.value_source(id)?;
        let raw = matches.try_get_raw(id).ok().flatten()?.map(|value| value.to_string_lossy());
        let values = match id {
            "proxy" | "ping_url" | "notify_url" => raw.map(|url| without_secrets(&url)).collect(),
            _ => raw.map(Into::into).collect(),
        };
        let name = id.replace('_', "-");
        let source = match written {
            ValueSource::CommandLine => Source::Flag,
            ValueSource::EnvVariable => Source::Variable(cli::variable(&name)),
            _ => self.behind(&name, |variable| {
                // The lines of a repeatable option's variable come in as defaults.
                matches!(arg.get_action(), ArgAction::Append)
                    && cli::is_configurable(verb, &name)
                    && env::var_os(variable).is_some()
            }),
        };
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        Some(Setting { name, values, source, is_switch })
    }

    /// Where an option's value was written, if it was not typed.
    fn behind(&self, option: &str, in_environment: impl FnOnce(&str) -> bool) -> Source {
        let variable = cli::variable(option);
        if in_environment(&variable) {
            return Source::Variable(variable);
        }
        if self.recorded.contains_key(option) {
            return Source::Run;
        }
        let in_file =
            |file: &ConfigFile| Some(Source::File { path: file.path.clone(), key: file.key_of(option)? });
        self.file.as_ref().and_then(in_file).unwrap_or(Source::Default)
    }

    /// Names the place of a value that clap refuses, where it was not typed.
    fn blame(&self, error: clap::Error) -> ConfigError {
        let error = discreet(error);
        if error.kind() == ErrorKind::InvalidUtf8
            && self.args.iter().all(|arg| arg.to_str().is_some())
            && let Some(variable) = environment::not_utf8(env::vars_os())
        {
            return ConfigError::UnreadableVariable(variable);
        }
        let Some(refused) = Refused::of(&error).filter(|refused| !refused.is_typed(&self.args)) else {
            return ConfigError::Arguments(error);
        };
        match self.behind(&refused.option, |variable| env::var_os(variable).is_some()) {
            Source::Flag | Source::Default | Source::Elsewhere(_) | Source::Nowhere => {
                ConfigError::Arguments(error)
            }
            origin => ConfigError::Refused { origin, refused },
        }
    }
}

fn named_config(matches: &ArgMatches) -> Option<PathBuf> {
    let own = matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
    own.or_else(|| matches.subcommand().and_then(|(_, verb)| named_config(verb)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::config::setting::recorded;

    #[test]
    fn every_option_in_force_is_told_with_where_it_was_written_and_no_secret_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, "max_wait = '1m'\nrate = '1/s'\ncanary = 7\nping-url = 'https://hc.example/s3cret'")
            .unwrap();
        let typed =
            ["v6fleet", "resume", "--rate", "5/s", "--proxy", "http://me:s3cret@proxy:3128", "--config"];
        let args = typed.map(OsString::from).into_iter().chain([file.clone().into()]).collect();
        let (layers, parsed) = Layers::read(args).unwrap();
        let run = json!({"canary": "5", "rate": "2/s", "concurrency": "8"});
        let over_run = layers.over_recorded(run.as_object().unwrap()).unwrap();
        let told = |parsed: &Parsed, name: &str| {
            let setting = parsed.in_force.iter().find(|setting| setting.name == name).unwrap().to_string();
            setting.replace(&dir.path().display().to_string(), "DIR")
        };
        for (setting, over) in [
            ("rate = 5/s  (flag)", "rate = 5/s  (flag)"),
            ("max-wait = 1m  (DIR/config.toml: max_wait)", "max-wait = 1m  (DIR/config.toml: max_wait)"),
            ("canary = 7  (DIR/config.toml: canary)", "canary = 5  (the run's own options)"),
            ("concurrency = 16  (default)", "concurrency = 8  (the run's own options)"),
            ("detailed-exitcode = false  (default)", "detailed-exitcode = false  (default)"),
            ("proxy = http://***@proxy:3128  (flag)", "proxy = http://***@proxy:3128  (flag)"),
            (
                "ping-url = https://hc.example/***  (DIR/config.toml: ping-url)",
                "ping-url = https://hc.example/***  (DIR/config.toml: ping-url)",
            ),
        ] {
            let name = setting.split(' ').next().unwrap();
            assert_eq!((told(&parsed, name), told(&over_run, name)), (setting.to_owned(), over.to_owned()));
        }
        let kept = recorded(&over_run.in_force);
        assert_eq!((&kept["canary"], &kept["rate"]), (&json!("5"), &json!("5/s")));
        assert!(!kept.contains_key("proxy") && !kept.contains_key("detailed-exitcode"), "{kept:?}");
    }
}
