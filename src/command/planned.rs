//! The plan that `run --only-planned` goes by, and why one may not be gone by.

use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

use super::failure::Refusal;
use super::retyped::as_plan;
use crate::clock;
use crate::config::{OnlyPlanned, RunSettings};
use crate::dialect::Dialect;
use crate::inventory::{Inputs, InventoryError, InventoryFile};
use crate::ledger::{Ledger, LedgerError, NewRun, Overview, RunKey};
use crate::outcome::Kind;
use crate::resumption::Origin;
use crate::text::{duration, excerpt};
use crate::vm::Action;

/// Characters of what a message quotes.
const TEXT: usize = 80;

/// A plan that a run goes by.
pub(super) struct Planned {
    pub(super) run: RunKey,
    /// VMs that it said would change.
    pub(super) changes: u64,
}

/// Finds the plan. One that says nothing of what the run would do is refused, with the command for a new one.
pub(super) fn plan<E: From<Refusal> + From<InventoryError> + From<LedgerError>>(
    ledger: Option<&Ledger>,
    only: &OnlyPlanned,
    job: &NewRun,
    settings: &RunSettings,
    inputs: &mut Inputs,
) -> Result<Planned, E> {
    let refuse = |error: &dyn Display| E::from(refusal(error, settings));
    let (found, resumable) = match find(ledger, &only.run) {
        Ok(found) => found,
        Err(
            error @ (LedgerError::NoneOfKind(_)
            | LedgerError::OfOtherKind { .. }
            | LedgerError::UnknownRun(_)),
        ) => return Err(refuse(&error)),
        Err(error) => return Err(error.into()),
    };
    let files = inputs.digests(&settings.inventory.files)?;
    let resume = format!("v6fleet resume {}{}", found.id, settings.ledger.args(settings.ledger.sandbox));
    let resume = resumable.then_some(resume);
    match unfit(&found, job, &files, only.max_age, clock::now(), resume) {
        None => Ok(Planned { changes: found.counts.changed(), run: RunKey { id: found.id } }),
        Some(unfit) => Err(refuse(&format!("plan {} {unfit}", found.id))),
    }
}

/// The plan that was typed, and whether it can be gone on with.
fn find(ledger: Option<&Ledger>, typed: &str) -> Result<(Overview, bool), LedgerError> {
    let ledger = ledger.ok_or(LedgerError::NoneOfKind(Kind::Plan))?;
    let run = ledger.find_run_of(Kind::Plan, typed)?;
    Ok((ledger.overview(&run)?, ledger.is_unfinished(&run)?))
}

fn refusal(error: &dyn Display, settings: &RunSettings) -> Refusal {
    let anew = as_plan(&settings.typed);
    Refusal::usage(anyhow::anyhow!("--only-planned: {error}; nothing was called.\nMake a new plan: {anew}"))
}

/// Why a plan is none for this run, in words that follow its name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unfit {
    #[error("is of {planned}, and this run is of {wanted}")]
    OtherApi { planned: String, wanted: String },
    #[error("is for {planned}, and this run is for {wanted}")]
    OtherAction { planned: &'static str, wanted: &'static str },
    #[error("is of another inventory, or other contents of it")]
    OtherContents,
    #[error("has read the inventory in another way (--column, --items and the like)")]
    OtherReading,
    #[error("has not come to its end ({why}): {resume} goes on with it")]
    Incomplete { why: String, resume: String },
    #[error("has not come to its end ({why}), and nothing of it is left to go on with")]
    Stopped { why: String },
    #[error("is {age} old, and --max-plan-age is {most}")]
    Old { age: String, most: String },
}

/// `files` is the inventory as it is now; `resume` is the command that goes on with the plan, where that can be.
fn unfit(
    plan: &Overview,
    job: &NewRun,
    files: &[InventoryFile],
    max_age: Duration,
    now: Timestamp,
    resume: Option<String>,
) -> Option<Unfit> {
    let [then, of_now] = [(&plan.inventory[..], &plan.options), (files, &job.options)]
        .map(|(files, options)| Origin { files, options });
    let [age, most] = [now.duration_since(plan.started_at).as_secs_f64(), max_age.as_secs_f64()];
    let is_same_api = (&plan.base_url, plan.dialect) == (&job.base_url, job.dialect);
    Some(match () {
        () if !is_same_api => Unfit::OtherApi {
            planned: api(&plan.base_url, plan.dialect),
            wanted: api(&job.base_url, job.dialect),
        },
        () if plan.action != job.action => {
            Unfit::OtherAction { planned: words(plan.action), wanted: words(job.action) }
        }
        () if !then.has_contents_of(of_now) => Unfit::OtherContents,
        () if !then.is_read_as(of_now) => Unfit::OtherReading,
        () if !plan.complete => {
            let why = plan.stopped_by.map_or("it runs, or died".to_owned(), |stop| stop.to_string());
            match resume {
                Some(resume) => Unfit::Incomplete { why, resume },
                None => Unfit::Stopped { why },
            }
        }
        () if age > most => Unfit::Old { age: duration(age), most: duration(most) },
        () => return None,
    })
}

fn api(base_url: &str, dialect: Dialect) -> String {
    format!("{} ({dialect})", excerpt(base_url, TEXT))
}

fn words(action: Option<Action>) -> &'static str {
    action.map_or("each row's own action", Action::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ledger::{Counts, Terms, is_resumable};
    use crate::stop::Stop;

    const NOW: &str = "2026-11-24T02:00:00Z";

    fn files(sums: &[&str]) -> Vec<InventoryFile> {
        let file = |sum: &&str| InventoryFile { path: "fleet.csv".into(), sha256: (*sum).to_owned() };
        sums.iter().map(file).collect()
    }

    /// Of an hour ago.
    fn plan() -> Overview {
        Overview {
            id: "20261124T010000Z-7f3a".into(),
            kind: Kind::Plan,
            base_url: "https://cloud.hostup.se".into(),
            dialect: Dialect::V2,
            action: Some(Action::Allocate),
            inventory: files(&["a", "b"]),
            inventory_vms: Some(60),
            options: serde_json::Map::new(),
            started_at: "2026-11-24T01:00:00Z".parse().unwrap(),
            ended_at: None,
            resumes: 0,
            counts: Counts::none(Kind::Plan),
            complete: true,
            running: false,
            stopped_by: None,
            exit_code: Some(0),
            pinned: false,
        }
    }

    fn verdict(edit: impl FnOnce(&mut Overview, &mut NewRun)) -> Option<String> {
        let mut plan = plan();
        let mut job = NewRun {
            kind: Kind::Run,
            base_url: plan.base_url.clone(),
            dialect: plan.dialect,
            action: plan.action,
            files: vec![],
            id_files: vec![],
            options: serde_json::Map::new(),
            key_fingerprint: None,
            timeout: Duration::from_secs(30),
            terms: Terms::default(),
        };
        edit(&mut plan, &mut job);
        let max_age = Duration::from_hours(1);
        let resumable = is_resumable(plan.ended_at, plan.stopped_by, 1);
        let resume = resumable.then(|| "v6fleet resume 2026 --ledger l.db".to_owned());
        let unfit = unfit(&plan, &job, &files(&["a", "b"]), max_age, NOW.parse().unwrap(), resume);
        unfit.map(|unfit| unfit.to_string())
    }

    #[test]
    fn a_plan_is_gone_by_only_where_it_is_whole_fresh_and_of_the_same_job() {
        assert_eq!(verdict(|_, _| {}), None);
        assert_eq!(verdict(|_, job| drop(job.options.insert("rack".into(), json!("a")))), None);
        for (unfit, words) in [
            (verdict(|_, job| job.base_url = "sandbox".into()), "this run is of sandbox (v2)"),
            (verdict(|plan, _| plan.dialect = Dialect::V1), "is of https://cloud.hostup.se (v1)"),
            (
                verdict(|_, job| job.action = None),
                "is for allocate, and this run is for each row's own action",
            ),
            (verdict(|plan, _| plan.inventory = files(&["a"])), "other contents"),
            (verdict(|plan, _| plan.inventory.reverse()), "other contents"),
            (verdict(|_, job| drop(job.options.insert("column".into(), json!("vmid=x")))), "another way"),
            (verdict(|plan, _| plan.complete = false), "(it runs, or died)"),
            (
                verdict(|plan, _| (plan.complete, plan.stopped_by) = (false, Some(Stop::Deadline))),
                "(deadline): v6fleet resume 2026 --ledger l.db goes on with it",
            ),
            (
                verdict(|plan, _| plan.started_at = "2026-11-24T00:59:59Z".parse().unwrap()),
                "is 1 h 0 min old, and --max-plan-age is 1 h 0 min",
            ),
        ] {
            let unfit = unfit.unwrap_or_default();
            assert!(unfit.contains(words), "{words} is not in {unfit}");
        }
    }
}
