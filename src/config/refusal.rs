//! A value that clap refuses: which, and why, with no more of it than may be told.

use std::ffi::OsString;
use std::fmt;

use clap::error::{ContextKind, ContextValue};

use crate::cli;
use crate::text::escape;

/// What clap refused: an option, its value and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// `rate` of `--rate`.
    pub(crate) option: String,
    value: String,
    reason: String,
}

impl Refused {
    /// `None` where clap is unhappy about something else than a value.
    pub(crate) fn of(error: &clap::Error) -> Option<Self> {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            _ => None,
        };
        let usage = text(ContextKind::InvalidArg)?;
        let option = usage.strip_prefix("--")?.split([' ', '[', '=']).next()?.to_owned();
        let reason = std::error::Error::source(error).map_or_else(|| choice(error), ToString::to_string);
        Some(Self { option, value: text(ContextKind::InvalidValue)?, reason })
    }

    /// Whether the command line names the option.
    pub(crate) fn is_typed(&self, args: &[OsString]) -> bool {
        let short = cli::short_of(&self.option);
        args.iter().filter_map(|arg| arg.to_str()).any(|arg| match arg.strip_prefix("--") {
            Some(long) => long.split('=').next() == Some(&self.option),
            None => {
                arg.strip_prefix('-').is_some_and(|flags| short.is_some_and(|short| flags.contains(short)))
            }
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, value, reason } = self;
        write!(f, "invalid value '{}' for --{option}: {reason}", escape(value))
    }
}

/// The values that could have stood there.
fn choice(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("one of {} is meant", values.join(", "))
        }
        _ if matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(text)) if text.is_empty()) => {
            "it is empty".to_owned()
        }
        _ => "that is no value of it".to_owned(),
    }
}

/// Clap quotes the value that it refuses: of a URL only so much may be told as is no secret.
pub(crate) fn discreet(mut error: clap::Error) -> clap::Error {
    let is_url = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if arg.ends_with("<URL>"));
    // Of one that is missing clap says just that.
    if let Some(ContextValue::String(url)) = error.get(ContextKind::InvalidValue)
        && is_url
        && !url.is_empty()
    {
        let harmless = without_secrets(url);
        error.insert(ContextKind::InvalidValue, ContextValue::String(harmless));
    }
    error
}

/// Of a URL, scheme and host; `***` stands for all that may be a token or a password, and that may be all of it.
pub(super) fn without_secrets(url: &str) -> String {
    let is_scheme =
        |text: &str| (1..8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return "***".to_owned();
    };
    // A password may hold the characters that end a host.
    let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("***@", host));
    let end = host.find(['/', '?', '#', '\\']).unwrap_or(host.len());
    let is_host = host[..end].bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let named = if is_host { &host[..end] } else { "***" };
    let more = if host[end..].trim_matches('/').is_empty() { "" } else { "/***" };
    format!("{scheme}://{user}{named}{more}")
}
