//! Flags, environment and file → the settings of one command, in which nothing can be wrong; and the API key.
//!
//! What was typed comes in, and goes no further: whoever carries a command out sees what is meant, in types of the
//! program's own. Each option in force is known with where it was written. Nothing is opened here but the configuration
//! file, and on demand the files of the key and of ids.

mod api;
mod audit;
mod calls;
mod check;
mod command;
mod copy;
mod diff;
mod environment;
mod error;
mod file;
mod form;
mod history;
mod inventory;
mod key;
mod layers;
mod ledger;
mod listing;
mod log;
mod monitor;
mod places;
mod refusal;
mod report;
mod reporting;
mod resume;
mod run;
mod runs;
mod sandbox;
mod setting;
mod showing;
mod status;
mod work;

use std::ffi::OsString;

pub(crate) use api::ApiSettings;
pub(crate) use audit::AuditSettings;
pub(crate) use calls::CallSettings;
pub(crate) use check::CheckSettings;
pub(crate) use command::Command;
pub(crate) use copy::CopySettings;
pub(crate) use diff::DiffSettings;
pub(crate) use error::ConfigError;
pub(crate) use form::Form;
pub(crate) use history::HistorySettings;
pub(crate) use inventory::{InventorySettings, SelectionSettings};
pub(crate) use key::ApiKey;
pub(crate) use ledger::LedgerSettings;
pub(crate) use listing::ListingSettings;
pub(crate) use log::{LogForm, LogLevel, LogSettings};
pub(crate) use monitor::{MonitorSettings, NotifyOn};
pub(crate) use report::ReportSettings;
pub(crate) use reporting::{FailOn, ReportingSettings};
pub(crate) use resume::{ResumeRequest, ResumeSettings};
pub(crate) use run::{OnlyPlanned, RunSettings};
pub(crate) use runs::{RunsSettings, Show, Wanted};
pub(crate) use sandbox::SandboxSettings;
pub(crate) use setting::Setting;
pub(crate) use showing::Showing;
pub(crate) use status::StatusSettings;
pub(crate) use work::{StopSettings, WorkRequest, WorkSettings};

use layers::Layers;

/// What is to be done, with everything that stands behind the command line.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) log: LogSettings,
    /// What is to be said of the environment before anything else.
    pub(crate) warnings: Vec<String>,
    /// Who is told of the job, also where its settings are refused.
    pub(crate) monitor: Option<MonitorSettings>,
    pub(crate) command: Result<Command, ConfigError>,
}

impl Config {
    /// Reads the arguments, the environment and the configuration file.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let (layers, parsed) = Layers::read(args.into_iter().collect())?;
        let log = LogSettings::of(&parsed.cli.common);
        let warnings = environment::warnings();
        let monitor = MonitorSettings::of(&parsed.cli.command);
        Ok(Self { log, warnings, monitor, command: Command::of(parsed, layers) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The settings of `v6fleet run fleet.csv` with a configuration file and more arguments.
    fn read(file: &str, args: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, file).unwrap();
        let all = ["v6fleet", "run", "fleet.csv", "--config", path.to_str().unwrap()];
        Config::read(all.iter().chain(args).map(OsString::from))
    }

    fn run(config: Config) -> Box<RunSettings> {
        let Ok(Command::Run(run)) = config.command else { panic!("not a run") };
        run
    }

    fn rate(config: Config) -> String {
        run(config).calls.rate.to_string()
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        assert_eq!(rate(read("", &[]).unwrap()), "10/s");
        assert_eq!(rate(read("rate = '20/s'", &[]).unwrap()), "20/s");
        assert_eq!(rate(read("rate = '20/s'", &["--rate", "30/s"]).unwrap()), "30/s");
    }

    #[test]
    fn numbers_flags_and_lists_are_values_too_and_either_spelling_is_a_key() {
        let config =
            read("max_attempts = 7\nsandbox = true\nrack = ['a*', '!ab']\nlog-format = 'json'", &[]).unwrap();
        assert_eq!(config.log.form, LogForm::Json);
        let run = run(config);
        assert_eq!((run.calls.reconcile.policy.max_attempts.get(), run.ledger.sandbox), (7, true));
        assert_eq!(run.options["rack"], serde_json::json!(["a*", "!ab"]));
    }

    #[test]
    fn a_wrong_file_is_named_with_what_is_wrong_in_it() {
        for (file, word) in [
            ("rat = '20/s'", "rat"),
            ("rate = '20/d'", "20/d"),
            ("rate = 1.5", "rate"),
            ("rate = ", "line 1"),
            ("config = 'x'", "config"),
            ("listen = 'x'", "listen"),
        ] {
            let error = read(file, &[]).unwrap_err().to_string();
            assert!(error.contains("config.toml") && error.contains(word), "{file}: {error}");
        }
    }

    #[test]
    fn the_options_in_force_are_recorded_by_name_and_secrets_are_not() {
        let config = read(
            "rate = '20/s'",
            &[
                "--proxy",
                "http://user:secret@proxy:3128",
                "--ping-url",
                "https://hc.example/secret",
                "--rack",
                "a",
                "--rack",
                "b",
            ],
        );
        let options = run(config.unwrap()).options;
        assert_eq!(options["rate"], "20/s");
        assert_eq!(options["rack"], serde_json::json!(["a", "b"]));
        assert_eq!(options["max-wait"], "15m");
        assert!(!serde_json::to_string(&options).unwrap().contains("secret"));
        assert!(!options.contains_key("sandbox"));
    }

    #[test]
    fn an_option_whose_url_is_missing_is_told_so() {
        for option in ["--base-url", "--ping-url", "--notify-url", "--proxy"] {
            let error = read("", &[option, "--quiet"]).unwrap_err().to_string();
            assert!(error.contains(&format!("a value is required for '{option} <URL>'")), "{error}");
        }
    }

    #[test]
    fn a_url_that_is_refused_is_named_without_its_token_or_password() {
        for (option, url, told) in [
            ("ping-url", "hc.example/s3cret", "***"),
            ("ping-url", "s3cret", "***"),
            ("ping-url", "http://hc.example/s3cret", "http://hc.example/***"),
            ("ping-url", "htps://hc.example/s3cret?s3cret#s3cret", "htps://hc.example/***"),
            ("ping-url", "https://s3cret@hc.example/", "https://***@hc.example"),
            ("ping-url", "https://hc.example?s3cret", "https://hc.example/***"),
            ("ping-url", "https://s3cret s3cret/", "https://***"),
            ("ping-url", "s3cret-token://hc.example/", "***"),
            ("base-url", "https://me:s3cret@api.example", "https://***@api.example"),
            ("base-url", "https://me:s3/cr?et@s3cret@api.example:1/x", "https://***@api.example:1/***"),
            ("base-url", "http://api.example", "http://api.example"),
            ("proxy", "socks5://me:s3cret@[2001:db8::1]:1080", "socks5://***@[2001:db8::1]:1080"),
            ("proxy", "me:s3cret@proxy:port", "***"),
        ] {
            let typed = read("", &[&format!("--{option}"), url]).unwrap_err().to_string();
            let joined = read("", &[&format!("--{option}={url}")]).unwrap_err().to_string();
            let in_file = read(&format!("{option} = '{url}'"), &[]).unwrap_err().to_string();
            for (error, name) in [(&typed, "'--{} <URL>'"), (&joined, "'--{} <URL>'"), (&in_file, "--{}: ")] {
                let expected = format!("invalid value '{told}' for {}", name.replace("{}", option));
                assert!(error.contains(&expected), "{error}");
                assert!(!error.contains("s3cret") && !error.contains("cr?et"), "{error}");
            }
            assert!(in_file.contains("config.toml: "), "{in_file}");
        }
        for file in [
            "ping-url = https://hc.example/s3cret",
            "rate = '1/s'\nproxy = 'http://s3cret",
            "proxy = [['s3cret']]",
            "ping-url = 's3cret'\nping-url = 's3cret'",
            "[proxy]\nurl = 's3cret'",
        ] {
            let error = read(file, &[]).unwrap_err().to_string();
            assert!(error.contains("config.toml: ") && !error.contains("s3cret"), "{error}");
        }
    }
}
