//! The job that `run` was typed for, and what `--resume` makes of its last run.

use std::path::Path;

use serde_json::{Map, Value};

use super::failure::Refusal;
use super::retyped::without_resume;
use crate::config::{CallSettings, RunSettings};
use crate::inventory::{Inputs, InventoryError, Selection, identity};
use crate::ledger::{Ledger, LedgerError, NewRun, SANDBOX, Terms, Unfinished};
use crate::resumption::{Origin, Resumption};
use crate::stop::Stop;
use crate::text::counted;

/// The job, as it is known before its inventory is read.
pub(super) fn job(settings: &RunSettings, selection: &Selection, fingerprint: Option<&str>) -> NewRun {
    let base_url = if settings.ledger.sandbox { SANDBOX } else { settings.base_url.as_str() };
    NewRun {
        kind: settings.kind,
        base_url: base_url.to_owned(),
        dialect: settings.dialect,
        action: settings.action,
        files: settings.inventory.files.iter().map(|file| identity(file)).collect(),
        id_files: selection.files().to_vec(),
        options: with_id_files_known(settings.options.clone()),
        key_fingerprint: fingerprint.map(str::to_owned),
        timeout: settings.api.timeout,
        terms: terms(&settings.calls),
    }
}

/// How this process works on a run.
pub(super) fn terms(calls: &CallSettings) -> Terms {
    Terms { lease: calls.lease, concurrency: calls.reconcile.concurrency.get() }
}

/// The same options, whatever the directory is in which `--vmid @FILE` was typed.
fn with_id_files_known(mut options: Map<String, Value>) -> Map<String, Value> {
    let known = |value: &mut Value| {
        let file = value.as_str().and_then(|text| text.split_once('@'));
        if let Some((exclusion, file)) = file {
            *value = format!("{exclusion}@{}", identity(Path::new(file))).into();
        }
    };
    match options.get_mut("vmid") {
        Some(Value::Array(values)) => values.iter_mut().for_each(known),
        Some(value) => known(value),
        None => {}
    }
    options
}

/// How the job is to be carried out.
#[derive(Debug)]
pub(super) enum Course {
    /// In a new run.
    Begin,
    /// In a new run, which supersedes this one, of other contents.
    Supersede(Unfinished),
    /// By going on with this run.
    GoOn(Unfinished),
}

impl Course {
    /// What a new run must say of the one that it supersedes.
    pub(super) fn warning(&self) -> Option<String> {
        let Self::Supersede(Unfinished { run, pending, .. }) = self else { return None };
        let pending = counted(*pending, "VM", "VMs");
        Some(format!(
            "the inventory has changed since run {} was stopped: a new run begins, with the {pending} that it left first",
            run.id
        ))
    }
}

/// Decides how the job goes on. What a ledger that cannot be read is to the command, its error type says.
pub(super) fn course<E: From<Refusal> + From<InventoryError> + From<LedgerError>>(
    ledger: Option<&Ledger>,
    job: &NewRun,
    settings: &RunSettings,
    inputs: &mut Inputs,
) -> Result<Course, E> {
    let (true, Some(ledger)) = (settings.resume, ledger) else { return Ok(Course::Begin) };
    let mut files = inputs.digests(&settings.inventory.files)?;
    let Some(last) = ledger.unfinished(job, &files)? else { return Ok(Course::Begin) };
    files.extend_from_slice(&job.id_files);
    let then = Origin { files: &last.files, options: &last.options };
    match Resumption::of(last.stopped_by, then, Origin { files: &files, options: &job.options }) {
        Resumption::GoOn => Ok(Course::GoOn(last)),
        Resumption::Anew => Ok(Course::Supersede(last)),
        Resumption::Braked(stop) => Err(braked(&last, stop, settings).into()),
    }
}

fn braked(last: &Unfinished, stop: Stop, settings: &RunSettings) -> Refusal {
    let Unfinished { run, pending, vms, .. } = last;
    let (id, ledger_args) = (&run.id, settings.ledger.args(settings.ledger.sandbox));
    let error = anyhow::anyhow!(
        "the job's last run, {id}, was stopped by a brake ({stop}), with {pending} of {} left; --resume does not go on \
         with it by itself, and nothing was called.\nWhat it did: v6fleet report {id}{ledger_args}\nGo on with it: v6fleet \
         resume {id}{ledger_args}\nOr begin anew, without --resume: {}",
        counted(*vms, "VM", "VMs"),
        without_resume(&settings.typed),
    );
    Refusal::braked(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_of_ids_is_known_by_its_absolute_path() {
        let known = |value: Value| {
            let options =
                [("vmid".to_owned(), value), ("rack".to_owned(), json!("@x"))].into_iter().collect();
            with_id_files_known(options)["vmid"].clone()
        };
        let here = std::env::current_dir().unwrap();
        let file = here.join("ids").display().to_string();
        assert_eq!(known(json!("@ids")), json!(format!("@{file}")));
        assert_eq!(known(json!(["1-9", "!@ids"])), json!(["1-9", format!("!@{file}")]));
        assert_eq!(known(json!(format!("@{file}"))), json!(format!("@{file}")));
    }
}
