//! The variables of the environment that are meant for this program.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::error::did_you_mean;
use crate::cli::{self, ENV};
use crate::text::{escape, nearest};

/// What is to be said of the environment.
pub(super) fn warnings() -> Vec<String> {
    strangers(std::env::vars_os().map(|(name, _)| name))
}

/// What is to be said of variables that look like ours and are not: one that is misspelt is obeyed by nobody.
fn strangers(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    // In an order of their own: the environment has none.
    let ours: BTreeSet<String> = names.filter(|name| name.starts_with(ENV)).collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let known = cli::variables();
    ours.difference(&known).map(|name| stranger(name, &known)).collect()
}

/// The first variable of ours that is no text.
pub(super) fn not_utf8(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Option<String> {
    let known = cli::variables();
    let broken = variables.into_iter().filter(|(_, value)| value.to_str().is_none());
    let names = broken.filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| known.contains(name)).min()
}

fn stranger(name: &str, known: &BTreeSet<String>) -> String {
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = did_you_mean(near);
    format!("{} is no option of v6fleet, and is ignored{hint}", escape(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_variable_of_ours_that_is_no_text_is_named() {
        let variable = |name: &str, value: &[u8]| (OsString::from(name), OsString::from_vec(value.into()));
        let others = [variable("V6FLEET_ACTION", b"allocate"), variable("LS_COLORS", b"\xff")];
        assert_eq!(not_utf8(others.clone()), None);
        let broken = others.into_iter().chain([variable("V6FLEET_RATE", b"9\xff")]);
        assert_eq!(not_utf8(broken), Some("V6FLEET_RATE".to_owned()));
    }

    #[test]
    fn a_variable_that_is_no_option_is_named_with_the_nearest_one() {
        let told = |name: &str| strangers([OsString::from(name)]);
        for known in
            ["V6FLEET_RATE", "V6FLEET_CONFIG", "V6FLEET_LOG_FORMAT", "V6FLEETRATE", "PATH", "v6fleet_rate"]
        {
            assert_eq!(told(known), [""; 0], "{known}");
        }
        for (name, near) in [
            ("V6FLEET_RATEE", "; did you mean V6FLEET_RATE?"),
            ("V6FLEET_MAX_ATTEMPT", "; did you mean V6FLEET_MAX_ATTEMPTS?"),
            ("V6FLEET_LEGDER", "; did you mean V6FLEET_LEDGER?"),
            ("V6FLEET_", ""),
            ("V6FLEET_Q7\u{1b}[2J", ""),
        ] {
            let expected = format!("{} is no option of v6fleet, and is ignored{near}", escape(name));
            assert_eq!(told(name), [expected], "{name}");
        }
    }
}
