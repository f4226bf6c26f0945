//! Bash, which takes the `=` and `:` within a word for words of their own.
//!
//! What it splits is put together before it is completed, and of each candidate it is handed what comes after them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::Command as Clap;
use clap_complete::engine;
use clap_complete::env::{Bash as Split, EnvCompleter};

/// The current word as far as the cursor. Right after a `=`, bash says that it is empty, and the `=` would be lost.
const CURRENT: &str = r#"words[COMP_CWORD]="$2""#;
const CURRENT_OR_BREAK: &str = r#"[[ ${words[COMP_CWORD]} == [=:] ]] || words[COMP_CWORD]="$2""#;

#[derive(Debug)]
pub(super) struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        Split.name()
    }

    fn is(&self, name: &str) -> bool {
        Split.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let mut script = Vec::new();
        Split.write_registration(var, name, bin, completer, &mut script)?;
        to.write_all(String::from_utf8_lossy(&script).replace(CURRENT, CURRENT_OR_BREAK).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Clap,
        words: Vec<OsString>,
        dir: Option<&Path>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let variable = |name| std::env::var(name).ok();
        let at = variable("_CLAP_COMPLETE_INDEX").and_then(|at| at.parse().ok()).unwrap_or(0);
        let (words, kept) = joined(words.get(..=at).unwrap_or(&words));
        let last = words.len().saturating_sub(1);
        let candidates: Vec<String> = engine::complete(command, words, last, dir)?
            .iter()
            .filter_map(|candidate| Some(candidate.get_value().to_str()?.strip_prefix(&kept)?.to_owned()))
            .collect();
        let separator = variable("_CLAP_IFS").unwrap_or_else(|| "\n".to_owned());
        to.write_all(candidates.join(&separator).as_bytes())
    }
}

/// The words as they were typed, and what bash keeps of the last one.
pub(super) fn joined(split: &[OsString]) -> (Vec<OsString>, String) {
    let is_break = |word: &OsString| word == "=" || word == ":";
    let mut words: Vec<OsString> = Vec::new();
    let mut kept = String::new();
    let mut goes_on = false;
    for word in split {
        match words.last_mut() {
            Some(last) if goes_on || is_break(word) => {
                kept = last.to_string_lossy().into_owned();
                last.push(word);
            }
            _ => {
                kept.clear();
                words.push(word.clone());
            }
        }
        goes_on = is_break(word);
    }
    if goes_on {
        kept = words.last().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default();
    }
    (words, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bash_has_split_is_put_together_and_the_part_before_the_last_is_kept() {
        for (split, whole, kept) in [
            ("v6fleet run fl", "v6fleet run fl", ""),
            ("v6fleet run --rack = dc", "v6fleet run --rack=dc", "--rack="),
            ("v6fleet run --rack =", "v6fleet run --rack=", "--rack="),
            ("v6fleet run --where owner = n", "v6fleet run --where owner=n", "owner="),
            ("v6fleet run --where = owner = n", "v6fleet run --where=owner=n", "--where=owner="),
            ("v6fleet audit --base-url = http : //[ fl", "v6fleet audit --base-url=http://[ fl", ""),
            ("= x", "=x", "="),
            ("", "", ""),
        ] {
            let split: Vec<OsString> = split.split_whitespace().map(OsString::from).collect();
            let whole: Vec<OsString> = whole.split_whitespace().map(OsString::from).collect();
            assert_eq!(joined(&split), (whole, kept.to_owned()));
        }
    }
}
