//! What every engine is held to of runs that only look.

use super::*;
use crate::outcome::Forecast;

fn plan() -> NewRun {
    NewRun { kind: Kind::Plan, dialect: Dialect::V2, ..new_run(BASE) }
}

fn call() -> NewRun {
    NewRun { dialect: Dialect::V2, ..new_run(BASE) }
}

/// A run of `vms` VMs on rack `a`.
fn begin_one(ledger: &Ledger, job: &NewRun, vms: u32) -> RunKey {
    let mut draft = ledger.draft(job).unwrap();
    for id in 1..=vms {
        draft.add(&vm(&id.to_string(), Some("a")), Action::Allocate, Some("a")).unwrap();
    }
    draft.commit(&Reading { vms: vms.into(), ..Reading::default() }, &[]).unwrap().run
}

/// An allocation as v2 shows it: without a rack.
fn shown() -> Allocation {
    Allocation { rack_id: None, ..example() }
}

fn foreseen(mut item: Item, outcome: Outcome, allocation: Option<Allocation>) -> Settled {
    item.tally.attempts += 1;
    let is_blocked = outcome == Outcome::Blocked;
    let forecast = Forecast {
        outcome,
        reason: is_blocked.then(|| "none left".into()),
        next_hop: (!is_blocked).then(|| "2001:db8::9".parse().unwrap()),
        warnings: vec![],
    };
    let settlement = Settlement::Forecast { forecast, allocation: allocation.map(Box::new), drift: vec![] };
    Settled { item, last: LastCall::default(), at: Timestamp::now(), settlement }
}

/// One night of one VM: what `settled` makes of it. Returns what was known of it then.
fn night<P: Place>(place: &P, job: &NewRun, settled: impl FnOnce(Item) -> Settled) -> Item {
    let run = begin_one(&place.open(), job, 1);
    let mut writer = place.open().write(&run).unwrap();
    let item = claim(&mut writer, take(0, 1)).remove(0);
    writer.settle(settled(item.clone()));
    let ledger = writer.close().0.unwrap();
    let seen = |ledger: &Ledger| {
        let last = ledger.sighting(BASE, Dialect::V2, &item.vm).unwrap();
        (
            last.map(|last| (last.allocation, last.seen_at)),
            ledger.last_rack(BASE, Dialect::V2, &item.vm).unwrap(),
            ledger.last_known(&item.vm).unwrap().len(),
        )
    };
    let while_it_is_on = format!("{:?}", seen(&place.read()));
    ledger.end(&run, None, |_| 0).unwrap();
    assert_eq!(format!("{:?}", seen(&ledger)), while_it_is_on, "once it has ended");
    item
}

fn seen<P: Place>(place: &P) -> Option<Sighting> {
    place.read().sighting(BASE, Dialect::V2, &"1".into()).unwrap()
}

pub(super) fn what_a_plan_has_seen_is_what_was_before_the_run_after_it<P: Place>() {
    let place = P::new();
    let on_rack = Allocation { rack_id: Some("a".into()), ..example() };
    let answered = |item| {
        let settlement = Settlement::Success {
            verdict: Verdict {
                outcome: Outcome::Created,
                basis: Basis::CreatedFlag,
                changes: vec![],
                warnings: vec![],
            },
            allocation: Box::new(on_rack.clone()),
            drift: vec![],
        };
        Settled { settlement, ..success(item, Outcome::Created, Basis::CreatedFlag) }
    };
    let rack = || place.read().last_rack(BASE, Dialect::V2, &"1".into()).unwrap();

    let before = night(&place, &plan(), |item| foreseen(item, Outcome::Create, None)).before;
    assert_eq!((before.is_some(), seen(&place).is_some_and(|last| last.allocation.is_none())), (false, true));
    let before = night(&place, &call(), answered).before;
    assert_eq!((before.is_some(), rack().as_deref()), (false, Some("a")));
    let before = night(&place, &plan(), |item| foreseen(item, Outcome::Keep, Some(shown()))).before;
    assert_eq!((before.is_some(), rack().as_deref()), (true, Some("a")), "a rack that is not said is kept");
    let moved = Allocation { next_hop: "2001:db8::7".parse().ok(), ..shown() };
    night(&place, &plan(), |item| foreseen(item, Outcome::Update, Some(moved.clone())));
    night(&place, &plan(), |item| foreseen(item, Outcome::Blocked, None));
    assert_eq!(
        (seen(&place).map(|last| last.allocation.is_some()), rack().as_deref()),
        (Some(false), Some("a"))
    );
    let before = night(&place, &plan(), |item| foreseen(item, Outcome::Update, Some(moved.clone()))).before;
    assert_eq!(
        (before.is_some(), rack().as_deref()),
        (false, Some("a")),
        "there was none, on a rack that is kept"
    );
    let item = night(&place, &call(), answered);
    assert_eq!(item.before.unwrap().next_hop, moved.next_hop);
    assert_eq!(rack().as_deref(), Some("a"));
}

pub(super) fn what_a_plan_sees_while_an_answer_is_lost_does_not_tell_what_the_call_did<P: Place>() {
    let place = P::new();
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    let lost = vec![Unanswered { from: at, until: at, offset_then: None }];
    night(&place, &call(), |mut item| {
        item.unanswered.clone_from(&lost);
        let settlement = Settlement::Failed(Setback { may_have_applied: true, ..setback() });
        Settled { settlement, ..success(item, Outcome::Failed, Basis::None) }
    });
    for (outcome, allocation) in [
        (Outcome::Keep, Some(shown())),
        (Outcome::Create, None),
        (Outcome::Update, Some(Allocation { id: Some("other".into()), ..shown() })),
    ] {
        let item = night(&place, &plan(), |item| foreseen(item, outcome, allocation));
        assert_eq!((item.before.is_none(), &item.unanswered), (true, &lost), "{outcome}");
    }
    let item = night(&place, &call(), |item| success(item, Outcome::Created, Basis::LostAnswer));
    assert_eq!((item.before.is_none(), item.unanswered), (true, lost));
    let item = night(&place, &plan(), |item| foreseen(item, Outcome::Keep, Some(shown())));
    assert_eq!((item.before.is_some(), item.unanswered.len()), (true, 0));
}

pub(super) fn the_newest_run_of_a_kind_is_not_hidden_by_one_of_the_other<P: Place>() {
    let place = P::new();
    let ledger = place.open();
    let [planned, called, _] = [plan(), call(), plan()].map(|job| begin_one(&ledger, &job, 1));
    assert_eq!(ledger.find_run_of(Kind::Run, "latest").unwrap(), called);
    assert_ne!(ledger.find_run_of(Kind::Plan, "latest").unwrap(), planned);
    assert_eq!(ledger.find_run_of(Kind::Plan, &planned.id).unwrap(), planned);
    let error = ledger.find_run_of(Kind::Plan, &called.id).unwrap_err().to_string();
    assert_eq!(error, format!("{} is a run, and a plan is wanted", called.id));
}

pub(super) fn what_a_dead_plan_left_claimed_has_done_nothing<P: Place>() {
    let place = P::new();
    let run = begin_one(&place.open(), &plan(), 2);
    let mut writer = place.open().write(&run).unwrap();
    claim(&mut writer, take(0, 1));
    writer.close();
    let reader = place.read();
    assert!(rows(&reader, &run).iter().all(|row| !row.may_have_applied), "already before the next run");
    assert_eq!(reader.summary(&run).unwrap().failures[0].may_have_applied, 0);
    assert!(!reader.entries(&"1".into()).unwrap()[0].row.may_have_applied);
    drop(reader);
    let ledger = place.open();
    assert!(ledger.is_unfinished(&run).unwrap());
    assert!(rows(&ledger, &run).iter().all(|row| !row.may_have_applied && row.outcome == Outcome::Failed));
    let mut writer = ledger.write(&run).unwrap();
    let items = claim(&mut writer, take(0, 2));
    assert!(items.len() == 2 && items.iter().all(|item| item.unanswered.is_empty()), "{items:?}");
}

pub(super) fn a_plan_is_another_job_than_the_run_of_the_same_files<P: Place>() {
    let place = P::new();
    let ledger = place.open();
    let keys = [plan(), call()].map(|job| begin_one(&ledger, &job, 3));
    for (job, run) in [plan(), call()].iter().zip(&keys) {
        let unfinished = ledger.unfinished(job, &[]).unwrap().unwrap();
        assert_eq!(unfinished.run, *run, "{}", job.kind);
        assert_eq!(
            (ledger.run_info(run).unwrap().kind, ledger.overview(run).unwrap().kind),
            (job.kind, job.kind)
        );
    }
    let mut writer = ledger.write(&keys[0]).unwrap();
    let outcomes = [Outcome::Create, Outcome::Keep, Outcome::Blocked];
    let seen = [None, Some(shown()), None];
    for ((item, outcome), seen) in claim(&mut writer, take(0, 3)).into_iter().zip(outcomes).zip(seen) {
        writer.settle(foreseen(item, outcome, seen));
    }
    let ledger = writer.close().0.unwrap();
    let end = ledger.end(&keys[0], None, |summary| u8::from(summary.counts.changed() == 1)).unwrap();
    let End::Noted { summary, .. } = end else { panic!("{end:?}") };
    assert_eq!((summary.complete, summary.exit_code), (true, 1));
    for counts in [summary.counts, ledger.overview(&keys[0]).unwrap().counts] {
        let told = json!({"selected": 3, "create": 1, "update": 0, "keep": 1, "blocked": 1, "failed": 0, "not_attempted": 0});
        assert_eq!(serde_json::to_value(counts).unwrap(), told);
    }
    let told = |row: &Row| (row.outcome, row.basis, row.planned_next_hop.clone(), row.error.clone());
    let told: Vec<_> = rows(&ledger, &keys[0]).iter().map(told).collect();
    let hop = || Some("2001:db8::9".to_owned());
    assert_eq!(
        told,
        [
            (Outcome::Create, None, hop(), None),
            (Outcome::Keep, None, hop(), None),
            (Outcome::Blocked, None, None, Some("none left".to_owned())),
        ]
    );
    let again = begin_one(&ledger, &call(), 3);
    assert_eq!(ledger.baseline(&again).unwrap(), None, "a plan is nothing to compare a run with");
    assert_eq!(compared_with(&ledger, &begin_one(&ledger, &plan(), 3)).as_ref(), Some(&keys[0]));
}
