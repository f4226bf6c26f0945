//! The configuration file: an option a key, as TOML.

use std::fs;
use std::io;
use std::path::PathBuf;

use toml::{Table, Value};

use super::error::ConfigError;
use super::places::{home, named_by};
use crate::cli;

/// A configuration file that was read.
#[derive(Debug, Clone)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    table: Table,
}

impl ConfigFile {
    /// The file that was named, by an option or a variable, or the one in its usual place if there is one.
    pub(super) fn find(named: Option<PathBuf>) -> Result<Option<Self>, ConfigError> {
        let (path, must_exist) = match named.or_else(|| named_by("V6FLEET_CONFIG")) {
            Some(path) => (path, true),
            None => match usual_place() {
                Some(path) => (path, false),
                None => return Ok(None),
            },
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
            Err(source) => {
                return Err(ConfigError::File { option: must_exist.then_some("--config"), path, source });
            }
        };
        let parsed = utf_8(bytes).and_then(|text| text.parse().map_err(|error| unquoted(&text, &error)));
        match parsed {
            Ok(table) => Ok(Some(Self { path, table })),
            Err(reason) => Err(ConfigError::Syntax { path, reason }),
        }
    }

    /// Makes its values the defaults of the options that it names.
    pub(super) fn defaults_of(&self, command: clap::Command) -> Result<clap::Command, ConfigError> {
        self.table.iter().try_fold(command, |command, (key, value)| {
            let (path, key) = (self.path.clone(), option(key));
            match texts(value) {
                None => Err(ConfigError::UnfitValue { path, key }),
                Some(values) => {
                    cli::with_default(command, &key, &values).ok_or(ConfigError::UnknownKey { path, key })
                }
            }
        })
    }

    /// The key that sets an option, in its own spelling.
    pub(super) fn key_of(&self, name: &str) -> Option<String> {
        self.table.keys().find(|key| option(key) == name).cloned()
    }
}

/// The usual place of the file, whether or not it is there.
pub(super) fn usual_place() -> Option<PathBuf> {
    home("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("v6fleet/config.toml"))
}

/// The option that a key stands for: either spelling will do.
fn option(key: &str) -> String {
    key.replace('_', "-")
}

/// The text of a file, or what is wrong with it.
fn utf_8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        format!("line {}: is not UTF-8: save the file as UTF-8", line_behind(before))
    })
}

/// The line that what follows `before` is on, counted from 1.
fn line_behind(before: &[u8]) -> usize {
    before.split(|byte| *byte == b'\n').count()
}

/// What is wrong with a file, without the line that is wrong: it may hold a secret.
fn unquoted(text: &str, error: &toml::de::Error) -> String {
    let before = &text[..error.span().map_or(0, |span| span.start)];
    format!("line {}: {}", line_behind(before.as_bytes()), error.message())
}

/// An option's values as they would have been typed.
fn texts(value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    match value {
        Value::Array(list) => list.iter().map(scalar).collect(),
        value => scalar(value).map(|text| vec![text]),
    }
}
