//! Flags, environment and file → settings that cannot be wrong; and the API key.
//!
//! The key is read here and handed on as a secret: it is never an argument, and nothing prints it.

mod environment;
mod refusal;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::cli::{self, Cli, CommonArgs};
use crate::text::shown_path;
use refusal::{Origin, Refused, discreet};

/// Options that may hold a secret (a password in a URL), or say nothing of how a run was carried out.
const UNRECORDED: [&str; 7] =
    ["inventory", "proxy", "ping_url", "verbose", "quiet", "log_format", "forget_rate"];

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Clap's own words; asking for help is one of them.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error("{}{}: {source}", option.map(|option| format!("{option} ")).unwrap_or_default(), shown_path(path))]
    File { option: Option<&'static str>, path: PathBuf, source: io::Error },
    #[error("{}: {reason}", shown_path(path))]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: there is no option {key:?}{}", shown_path(path), did_you_mean(cli::near_option(key)))]
    UnknownKey { path: PathBuf, key: String },
    #[error("{}: {key} must be a text, a number, true or false, or a list of such", shown_path(path))]
    UnfitValue { path: PathBuf, key: String },
    #[error("{origin}: {refused}")]
    Refused { origin: Origin, refused: Refused },
    #[error("{0} is not UTF-8 text")]
    UnreadableVariable(String),
    #[error(
        "no API key: name a file with --api-key-file, or set HOSTUP_API_KEY (or rehearse with --sandbox)"
    )]
    NoKey,
    #[error("the API key from {0} is empty")]
    EmptyKey(String),
    #[error("the API key from {0} is not UTF-8 text")]
    UnreadableKey(String),
    #[error("the API key from {0} has a character that no HTTP header can carry")]
    UnfitKey(String),
    #[error("neither XDG_STATE_HOME nor HOME is set: name a ledger with --ledger")]
    NoHome,
}

/// A command line with everything that stands behind it.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) cli: Cli,
    /// The options in force, by name, as a run records them.
    pub(crate) options: Map<String, Value>,
    /// What is to be said of the environment before anything else.
    pub(crate) warnings: Vec<String>,
    args: Vec<OsString>,
    file: Option<(PathBuf, Table)>,
}

impl Config {
    /// Reads the arguments, the environment and the configuration file.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let args: Vec<OsString> = args.into_iter().collect();
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
        match (matches, config_file(named)?) {
            (Some(matches), None) => Self::new(&command, &matches, args, None),
            (_, file) => Self::parse(args, file, &Map::new()),
        }
    }

    /// The command line, word by word.
    pub(crate) fn typed(&self) -> &[OsString] {
        &self.args
    }

    /// The same command line, where a run's own options stand in for those that are not given anew.
    pub(crate) fn with_recorded(&self, recorded: &Map<String, Value>) -> Result<Self, ConfigError> {
        Self::parse(self.args.clone(), self.file.clone(), recorded)
    }

    fn parse(
        args: Vec<OsString>,
        file: Option<(PathBuf, Table)>,
        recorded: &Map<String, Value>,
    ) -> Result<Self, ConfigError> {
        let mut command = cli::command();
        if let Some((path, table)) = &file {
            for (key, value) in table {
                let key = key.replace('_', "-");
                let unfit = || ConfigError::UnfitValue { path: path.clone(), key: key.clone() };
                let values = texts(value).ok_or_else(unfit)?;
                command = cli::with_default(command, &key, &values)
                    .ok_or_else(|| ConfigError::UnknownKey { path: path.clone(), key: key.clone() })?;
            }
        }
        for (key, value) in recorded {
            command = cli::with_recorded(command, key, &recorded_texts(value));
        }
        let matches = command.try_get_matches_from_mut(&args);
        let matches = matches.map_err(|error| blame(error, &args, recorded, file.as_ref()))?;
        Self::new(&command, &matches, args, file)
    }

    fn new(
        command: &clap::Command,
        matches: &ArgMatches,
        args: Vec<OsString>,
        file: Option<(PathBuf, Table)>,
    ) -> Result<Self, ConfigError> {
        let cli = Cli::from_arg_matches(matches)?;
        let options = matches.subcommand().map(|(name, verb)| options(command, name, verb));
        let warnings = environment::strangers(env::vars_os().map(|(name, _)| name));
        Ok(Self { cli, options: options.unwrap_or_default(), warnings, args, file })
    }
}

/// An option's values as [`options`] recorded them.
fn recorded_texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        value => value.as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// A hint behind a word that is not known.
fn did_you_mean(near: Option<String>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

type Table = toml::Table;

/// The configuration file that is read, if it is there: the one named, else the one in its usual place.
pub(crate) fn file(common: &CommonArgs) -> Option<PathBuf> {
    common.config.clone().or_else(usual_file)
}

fn usual_file() -> Option<PathBuf> {
    home("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("v6fleet/config.toml"))
}

/// The configuration file that was named, or the one in its usual place if there is one.
fn config_file(named: Option<PathBuf>) -> Result<Option<(PathBuf, Table)>, ConfigError> {
    let (path, must_exist) = match named.or_else(|| path_in("V6FLEET_CONFIG", "")) {
        Some(path) => (path, true),
        None => match usual_file() {
            Some(path) => (path, false),
            None => return Ok(None),
        },
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(source) => {
            return Err(ConfigError::File { option: must_exist.then_some("--config"), path, source });
        }
    };
    match text.parse() {
        Ok(table) => Ok(Some((path, table))),
        Err(error) => Err(ConfigError::Syntax { path, reason: unquoted(&text, &error) }),
    }
}

/// What is wrong with a file, without the line that is wrong: it may hold a secret.
fn unquoted(text: &str, error: &toml::de::Error) -> String {
    let before = &text[..error.span().map_or(0, |span| span.start)];
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn named_config(matches: &ArgMatches) -> Option<PathBuf> {
    let own = matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
    own.or_else(|| matches.subcommand().and_then(|(_, verb)| named_config(verb)))
}

/// An option's values as they would have been typed.
fn texts(value: &toml::Value) -> Option<Vec<String>> {
    let scalar = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            None
        }
    };
    match value {
        toml::Value::Array(list) => list.iter().map(scalar).collect(),
        value => scalar(value).map(|text| vec![text]),
    }
}

/// Names the place of a value that clap refuses, where it was not typed.
fn blame(
    error: clap::Error,
    args: &[OsString],
    recorded: &Map<String, Value>,
    file: Option<&(PathBuf, Table)>,
) -> ConfigError {
    let error = discreet(error);
    if error.kind() == ErrorKind::InvalidUtf8
        && args.iter().all(|arg| arg.to_str().is_some())
        && let Some(variable) = environment::not_utf8(env::vars_os())
    {
        return ConfigError::UnreadableVariable(variable);
    }
    let Some(refused) = Refused::of(&error).filter(|refused| !refused.is_typed(args)) else {
        return ConfigError::Arguments(error);
    };
    let variable = cli::variable(&refused.option);
    let in_file = |(path, table): &(PathBuf, Table)| {
        let key = table.keys().find(|key| key.replace('_', "-") == refused.option)?.clone();
        Some(Origin::File { path: path.clone(), key })
    };
    let origin = match () {
        () if env::var_os(&variable).is_some() => Some(Origin::Variable(variable)),
        () if recorded.contains_key(&refused.option) => Some(Origin::Run),
        () => file.and_then(in_file),
    };
    match origin {
        Some(origin) => ConfigError::Refused { origin, refused },
        None => ConfigError::Arguments(error),
    }
}

/// Every option that has a value, as it was written.
fn options(command: &clap::Command, verb: &str, matches: &ArgMatches) -> Map<String, Value> {
    let args = command.find_subcommand(verb).into_iter().flat_map(clap::Command::get_arguments);
    let mut options = Map::new();
    for arg in args.chain(command.get_arguments()) {
        let name = arg.get_id().as_str();
        let known = matches.try_contains_id(name).unwrap_or(false) && !UNRECORDED.contains(&name);
        let off = matches.value_source(name) == Some(ValueSource::DefaultValue)
            && matches.try_get_one::<bool>(name).is_ok_and(|flag| flag == Some(&false));
        if !known || off {
            continue;
        }
        let values: Vec<Value> = match matches.try_get_raw(name) {
            Ok(Some(values)) => values.map(|value| value.to_string_lossy().into_owned().into()).collect(),
            _ => continue,
        };
        let value =
            if values.len() == 1 { values.into_iter().next().unwrap_or_default() } else { values.into() };
        options.insert(name.replace('_', "-"), value);
    }
    options
}

/// Where the ledger is: as named, else in the user's state directory, a rehearsal's apart from the real one.
pub(crate) fn ledger_path(common: &CommonArgs, sandbox: bool) -> Result<PathBuf, ConfigError> {
    if let Some(path) = &common.ledger {
        return Ok(path.clone());
    }
    let [real, rehearsals] = default_ledgers().ok_or(ConfigError::NoHome)?;
    Ok(if sandbox { rehearsals } else { real })
}

/// The ledgers in their usual places, whether or not they are there.
pub(crate) fn usual_ledgers() -> impl Iterator<Item = PathBuf> {
    default_ledgers().into_iter().flatten()
}

/// Where the ledger of real runs and that of rehearsals are by default.
fn default_ledgers() -> Option<[PathBuf; 2]> {
    let dir = home("XDG_STATE_HOME", ".local/state")?.join("v6fleet");
    Some(["ledger.db", "sandbox.db"].map(|name| dir.join(name)))
}

/// An XDG base directory: the variable, if it is an absolute path, else its place in the home directory.
fn home(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    path_in(variable, "").and_then(absolute).or_else(|| path_in("HOME", fallback).and_then(absolute))
}

fn path_in(variable: &str, below: &str) -> Option<PathBuf> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(if below.is_empty() { PathBuf::from(value) } else { Path::new(&value).join(below) })
}

/// The API key, and where it came from.
#[derive(Debug)]
pub(crate) struct ApiKey {
    pub(crate) secret: SecretString,
    /// For the log: never the key.
    pub(crate) source: String,
    /// All may read the file that holds it.
    pub(crate) exposed: bool,
}

impl ApiKey {
    /// From the named file, else the service manager's credentials, else the environment.
    pub(crate) fn find(file: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = file {
            return Self::from_file(path, Some("--api-key-file"));
        }
        let credential = path_in("CREDENTIALS_DIRECTORY", "api-key").filter(|path| path.exists());
        if let Some(path) = credential {
            return Self::from_file(&path, None);
        }
        let source = "HOSTUP_API_KEY".to_owned();
        let key = env::var_os("HOSTUP_API_KEY").ok_or(ConfigError::NoKey)?;
        let key = key.into_string().map_err(|_| ConfigError::UnreadableKey(source.clone()))?;
        Self::new(&key, source, false)
    }

    /// The rehearsal's: the real one has no business there. Too short to be masked in answers, it is no secret.
    pub(crate) fn of_sandbox() -> Self {
        Self { secret: SecretString::from("sandbox"), source: "the rehearsal".into(), exposed: false }
    }

    fn from_file(path: &Path, option: Option<&'static str>) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::File { option, path: path.to_owned(), source };
        let exposed = fs::metadata(path).map_err(io)?.permissions().mode() & 0o004 != 0;
        let key = fs::read(path).map_err(io)?;
        let source = shown_path(path);
        match String::from_utf8(key) {
            Ok(key) => Self::new(&key, source, exposed),
            Err(_) => Err(ConfigError::UnreadableKey(source)),
        }
    }

    fn new(key: &str, source: String, exposed: bool) -> Result<Self, ConfigError> {
        // Editors put a byte order mark before the text, and some a line end after it.
        let key = key.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if key.is_empty() {
            return Err(ConfigError::EmptyKey(source));
        }
        match key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            true => Ok(Self { secret: SecretString::from(key), source, exposed }),
            false => Err(ConfigError::UnfitKey(source)),
        }
    }

    /// The first 8 hex digits of its SHA-256: tells keys apart, and gives none away.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = format!("{:x}", Sha256::digest(self.secret.expose_secret()));
        digest[..8].to_owned()
    }
}

/// `none` stands for no directory.
pub(crate) fn output_dir(dir: &Path) -> Option<&Path> {
    (dir.as_os_str() != OsStr::new("none")).then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    /// The settings of `v6fleet run fleet.csv` with a configuration file and more arguments.
    fn read(file: &str, args: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, file).unwrap();
        let all = ["v6fleet", "run", "fleet.csv", "--config", path.to_str().unwrap()];
        Config::read(all.iter().chain(args).map(OsString::from))
    }

    fn rate(config: Config) -> String {
        let Command::Run(run) = config.cli.command else { panic!("not a run") };
        run.pace.rate.to_string()
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
        let Command::Run(run) = config.cli.command else { panic!("not a run") };
        assert_eq!(
            (run.pace.max_attempts.get(), run.rehearsal.sandbox, run.selection.rack.len()),
            (7, true, 2)
        );
        assert_eq!(config.cli.common.log_format, cli::LogFormat::Json);
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
        let options = config.unwrap().options;
        assert_eq!(options["rate"], "20/s");
        assert_eq!(options["rack"], serde_json::json!(["a", "b"]));
        assert_eq!(options["max-wait"], "15m");
        assert!(!serde_json::to_string(&options).unwrap().contains("secret"));
        assert!(!options.contains_key("sandbox"));
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

    #[test]
    fn a_key_is_trimmed_and_an_empty_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, " secret-marker\r\n").unwrap();
        let key = ApiKey::find(Some(&path)).unwrap();
        assert_eq!(key.secret.expose_secret(), "secret-marker");
        assert!(!format!("{key:?}").contains("secret-marker"));
        assert_eq!(key.fingerprint().len(), 8);
        fs::write(&path, " \n").unwrap();
        assert!(matches!(ApiKey::find(Some(&path)), Err(ConfigError::EmptyKey(_))));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_key_and_what_no_header_can_carry_is_named_by_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let find = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            ApiKey::find(Some(&path)).map(|key| key.secret.expose_secret().to_owned())
        };
        for content in ["\u{feff}secret-marker", "\u{feff} secret-marker\r\n", "secret-marker\n\u{feff}"] {
            assert_eq!(find(content.as_bytes()).unwrap(), "secret-marker");
        }
        assert!(matches!(find("\u{feff}\n".as_bytes()), Err(ConfigError::EmptyKey(_))));
        for content in [
            "secret-mårker",
            "secret\nmarker",
            "secret\tmarker",
            "secret\0marker",
            "secret\u{feff}marker",
            "\u{7f}secret",
        ] {
            let error = find(content.as_bytes()).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, ConfigError::UnfitKey(_)), "{told}");
            assert!(told.contains(path.to_str().unwrap()) && !told.contains("secret"), "{told}");
        }
        assert!(matches!(find(b"secret-\xe5"), Err(ConfigError::UnreadableKey(_))));
    }

    #[test]
    fn a_key_file_that_all_may_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "k").unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(ApiKey::find(Some(&path)).unwrap().exposed, exposed, "{mode:o}");
        }
    }
}
