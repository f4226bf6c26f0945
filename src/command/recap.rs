//! The recap of a run on standard output, with the commands that a person may want to type next.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::failure::Broken;
use super::stdout::print_unless;
use crate::cli::OUTPUT_DIR;
use crate::config::Form;
use crate::dialect::Dialect;
use crate::inventory::READING;
use crate::ledger::{RunInfo, SANDBOX, Summary};
use crate::outcome::Kind;
use crate::report::{Format, ReportFile, recap};
use crate::text::{colored, quoted};

/// The options that the command repeats: without them the inventory would be read otherwise, another API called, or the
/// reports put elsewhere. Beside those of [`READING`].
const REPEATED: [&str; 6] = ["skip-invalid", "base-url", "api-key-file", "ca-file", "world", "output-dir"];

/// The command that does `kind` for VMs of a run, but for the option that names them; `None` where standard input was part
/// of it.
fn again(kind: Kind, info: &RunInfo, ledger_args: &str) -> Option<String> {
    if info.inventory.iter().any(|file| file.path == "-") {
        return None;
    }
    let files = info.inventory.iter().map(|file| quoted(&file.path));
    let action = info.action.map(|action| format!("--action {action}"));
    let options = READING.iter().chain(&REPEATED).filter_map(|name| Some((name, info.options.get(*name)?)));
    let goes_without_saying = |name, value: &Value| match name {
        "base-url" => info.base_url == SANDBOX,
        "output-dir" => value == OUTPUT_DIR,
        _ => false,
    };
    let options =
        options.filter(|(name, value)| !goes_without_saying(name, value)).flat_map(|(name, value)| {
            let values = value.as_array().cloned().unwrap_or(vec![value.clone()]);
            let typed = |value: &Value| match value.as_str() {
                Some("true") | None => format!("--{name}"),
                Some(text) => format!("--{name} {}", quoted(text)),
            };
            values.iter().map(typed).collect::<Vec<_>>()
        });
    let begin = std::iter::once(format!("v6fleet {kind}"));
    let api = (info.dialect == Dialect::V2).then(|| format!("--api {}", info.dialect));
    let words: Vec<String> = begin.chain(files).chain(options).chain(api).chain(action).collect();
    Some(format!("{}{ledger_args}", words.join(" ")))
}

/// The command that goes on with a run which nobody carries out; `None` where nothing is left to do.
pub(super) fn going_on(run: &str, summary: &Summary, ledger_args: &str) -> Option<String> {
    summary.resumable.then(|| format!("v6fleet resume {run}{ledger_args}"))
}

/// Returns the recap for people, uncoloured. Where a report has standard output, the recap goes to standard error.
pub(super) fn print_recap(
    form: Form,
    files: &[ReportFile<Format>],
    info: &RunInfo,
    summary: &Summary,
    reports: &[PathBuf],
    ledger_args: &str,
) -> Result<String, Broken> {
    let aside = files.iter().any(ReportFile::is_stdout);
    let reports: Vec<PathBuf> = reports.iter().filter(|path| *path != Path::new("-")).cloned().collect();
    let rerun = again(info.kind, info, ledger_args).map(|again| format!("{again} --only-failed={}", info.id));
    let plan = Some(info).filter(|info| info.kind == Kind::Plan && summary.complete);
    let carry_out = plan.and_then(|plan| again(Kind::Run, plan, ledger_args));
    let carry_out = carry_out.map(|again| format!("{again} --only-planned={}", info.id));
    let resume = going_on(&info.id, summary, ledger_args);
    let next = match summary.running {
        true => recap::Next::default(),
        false => recap::Next {
            carry_out: carry_out.as_deref(),
            rerun: rerun.as_deref(),
            resume: resume.as_deref(),
        },
    };
    let text = |colored| recap::text(info, summary, &reports, next, colored);
    let terminal = if aside { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let printed = match form {
        Form::Text => text(colored(terminal)),
        Form::Json => recap::json(info, summary, &reports).map_err(Broken::new)?,
    };
    print_unless(aside, form, &printed)?;
    Ok(text(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs_them() {
        for (word, expected) in [
            ("fleet.csv", "fleet.csv"),
            ("my fleet.csv", "'my fleet.csv'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
