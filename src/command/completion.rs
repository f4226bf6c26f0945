//! What a shell completes: commands, options and files, and, from the ledger, racks and run ids.
//!
//! The script that a shell sources asks the program itself at every Tab, so it never falls behind it.

mod bash;

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command as Clap};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Elvish, Fish, Powershell, Shells, Zsh};

use super::exit;
use super::failure::Refusal;
use crate::config::{Command, Config};
use crate::inventory::Delimiter;
use crate::ledger::{Ledger, LedgerError};
use crate::text::quoted;
use crate::vm::Action;

/// Set by the script: the shell that asks.
const VARIABLE: &str = "V6FLEET_COMPLETE";

/// Runs that are offered: the newest.
const RUNS: u32 = 50;

const SHELLS: Shells<'static> = Shells(&[&bash::Bash, &Elvish, &Fish, &Powershell, &Zsh]);

/// The script for the shell of this name.
pub(super) fn script(shell: &str) -> Result<Vec<u8>, Refusal> {
    let shells = SHELLS;
    let shell = shells.completer(shell);
    let shell = shell.ok_or_else(|| Refusal::usage(anyhow::anyhow!("no completion for this shell")))?;
    let mut script = Vec::new();
    let written = shell.write_registration(VARIABLE, "v6fleet", "v6fleet", "v6fleet", &mut script);
    written.map_err(Refusal::usage)?;
    Ok(script)
}

/// Answers a shell, if it is one that asks: what may stand on `command_line`. `None` where a command is to be done.
pub(super) fn answer(args: &[OsString], command_line: fn() -> Clap) -> Option<u8> {
    let asked =
        CompleteEnv::with_factory(|| with_candidates(command_line(), args)).var(VARIABLE).shells(SHELLS);
    match asked.try_complete(args, std::env::current_dir().ok().as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(exit::COMPLETE),
        // Whatever was said would stand in the middle of what is being typed.
        Err(_) => Some(exit::INTERNAL),
    }
}

/// The command line, with what the ledger knows for some of its values.
fn with_candidates(command_line: Clap, typed: &[OsString]) -> Clap {
    let (words, _) = bash::joined(typed);
    let reading = reading(&words);
    // Without the `=`, what follows is an inventory.
    let names_failed_run = words.iter().any(|word| value(word, "--only-failed").is_some());
    let offer = |arg: Arg| {
        let reading = reading.clone();
        match arg.get_id().as_str() {
            "action" => arg.add(ArgValueCandidates::new(|| {
                Action::ALL.iter().map(|action| CompletionCandidate::new(action.as_str())).collect()
            })),
            "delimiter" => arg.add(ArgValueCandidates::new(|| {
                Delimiter::WORDS.map(|(word, _)| CompletionCandidate::new(word)).into()
            })),
            "rack" => arg.add(ArgValueCandidates::new(move || known(&reading, racks))),
            "only_failed" if !names_failed_run => arg,
            "only_failed" | "pin" | "unpin" | "job" | "run" | "from" | "to" => {
                arg.add(ArgValueCandidates::new(move || known(&reading, runs)))
            }
            _ => arg,
        }
    };
    command_line.mut_subcommands(|verb| verb.mut_args(&offer))
}

/// A command that reads the ledger which the typed words mean.
fn reading(words: &[OsString]) -> Vec<OsString> {
    let mut reading: Vec<OsString> = ["v6fleet", "runs"].map(OsString::from).into();
    for option in ["--ledger", "--config"] {
        let apart = words.iter().skip_while(|word| *word != option).nth(1);
        let named = words.iter().find_map(|word| value(word, option)).or(apart.cloned());
        reading.extend(named.into_iter().flat_map(|value| [OsString::from(option), value]));
    }
    reading.extend(words.iter().filter(|word| *word == "--sandbox").take(1).cloned());
    reading
}

/// The value that a word of the form `--option=value` has.
fn value(word: &OsStr, option: &str) -> Option<OsString> {
    Some(word.to_str()?.strip_prefix(option)?.strip_prefix('=')?.into())
}

/// What the ledger knows; nothing where there is none, or it cannot be read.
fn known(
    reading: &[OsString],
    candidates: fn(&Ledger) -> Result<Vec<CompletionCandidate>, LedgerError>,
) -> Vec<CompletionCandidate> {
    let ledger = || {
        let Command::Runs(runs) = Config::read(reading.iter().cloned()).ok()?.command.ok()? else {
            return None;
        };
        Ledger::open_read_only(&runs.ledger.location).ok()
    };
    ledger().and_then(|ledger| candidates(&ledger).ok()).unwrap_or_default()
}

/// Racks come from outside: what a shell would take for more than a word is not offered.
fn racks(ledger: &Ledger) -> Result<Vec<CompletionCandidate>, LedgerError> {
    let racks = ledger.rack_ids()?.into_iter();
    Ok(racks.filter(|rack| quoted(rack) == *rack).map(CompletionCandidate::new).collect())
}

fn runs(ledger: &Ledger) -> Result<Vec<CompletionCandidate>, LedgerError> {
    let runs = ledger.as_of_now(|ledger| ledger.overviews(Some(RUNS)))?.into_iter().map(|run| {
        let help = format!("{} VMs, {} failed", run.counts.selected, run.counts.failed);
        CompletionCandidate::new(run.id).help(Some(help.into()))
    });
    let latest = CompletionCandidate::new("latest").help(Some("the newest run".into()));
    Ok(std::iter::once(latest).chain(runs).collect())
}
