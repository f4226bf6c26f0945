//! The command that was typed, as a person would type it again.

use std::ffi::OsString;

use crate::text::quoted;

/// The options whose values may be secret: where one was typed, the command does without.
const SECRETS: [&str; 3] = ["--ping-url", "--notify-url", "--proxy"];

/// The options that no plan has, or that would go on with another one.
const NOT_OF_A_PLAN: [&str; 2] = ["--only-planned", "--resume"];

/// Those with a value, which may be a word of its own.
const NOT_OF_A_PLAN_WITH_VALUE: [&str; 3] = ["--max-plan-age", "--max-changed", "--fail-on"];

/// The same command without `--resume`.
pub(super) fn without_resume(typed: &[OsString]) -> String {
    let (mut words, left_out) = without(typed, &["--resume"], &SECRETS);
    // What a check finds keeps the run from its work.
    said_otherwise(&mut words, "check", "run");
    // In the environment or a configuration file, it is switched off by a variable alone.
    let off = if left_out.contains(&"--resume") { "" } else { "V6FLEET_RESUME=0 " };
    format!("{off}{}", words.join(" "))
}

/// The plan of the same VMs, for a `run` that was typed.
pub(super) fn as_plan(typed: &[OsString]) -> String {
    let (mut words, _) = without(typed, &NOT_OF_A_PLAN, &[&SECRETS[..], &NOT_OF_A_PLAN_WITH_VALUE].concat());
    said_otherwise(&mut words, "run", "plan");
    words.join(" ")
}

/// The same words with another verb.
fn said_otherwise(words: &mut [String], verb: &str, other: &str) {
    if let Some(verb) = words.iter_mut().find(|word| *word == verb) {
        other.clone_into(verb);
    }
}

/// The words, and which of the options that are left out were among them. A dry run was not what is wanted.
fn without<'a>(
    typed: &[OsString],
    left_out: &[&'a str],
    with_value: &[&'a str],
) -> (Vec<String>, Vec<&'a str>) {
    let mut words = vec!["v6fleet".to_owned()];
    let mut found = Vec::new();
    let mut typed = typed.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = typed.next() {
        let (option, value) =
            word.split_once('=').map_or((&*word, None), |(option, value)| (option, Some(value)));
        if option == "--dry-run" {
            continue;
        }
        if let Some(known) = left_out.iter().find(|known| **known == option) {
            found.push(*known);
        } else if with_value.contains(&option) {
            if value.is_none() {
                typed.next();
            }
        } else {
            words.push(quoted(&word));
        }
    }
    (words, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &str) -> Vec<OsString> {
        std::iter::once("/usr/bin/v6fleet").chain(words.split(' ')).map(OsString::from).collect()
    }

    #[test]
    fn the_same_command_without_resume_is_what_was_typed_but_for_secrets() {
        for (words, expected) in [
            ("run a.csv --resume --max-changed 10", "v6fleet run a.csv --max-changed 10"),
            ("run --dry-run a.csv --resume -q", "v6fleet run a.csv -q"),
            ("check a.csv --resume", "v6fleet run a.csv"),
            ("run a.csv --rack dc1*", "V6FLEET_RESUME=0 v6fleet run a.csv --rack 'dc1*'"),
            (
                "run --proxy http://u:p@h --resume --ping-url=https://h/secret --notify-url https://h/secret a.csv --only-failed=2026",
                "v6fleet run a.csv --only-failed=2026",
            ),
        ] {
            assert_eq!(without_resume(&typed(words)), expected);
        }
    }

    #[test]
    fn a_run_of_what_was_planned_begins_with_a_plan_of_the_same_vms() {
        for (words, expected) in [
            ("run a.csv --only-planned --api v2", "v6fleet plan a.csv --api v2"),
            (
                "--ledger l.db run --only-planned=2026 --max-changed 5% --rack dc1* a.csv --resume",
                "v6fleet --ledger l.db plan --rack 'dc1*' a.csv",
            ),
            (
                "run a.csv --max-plan-age 1h --dry-run --max-changed=3 --fail-on new -q",
                "v6fleet plan a.csv -q",
            ),
        ] {
            assert_eq!(as_plan(&typed(words)), expected);
        }
    }
}
