//! What every engine is held to of how a run ends: whether it is complete, and whether it can be gone on with.

use super::*;

#[derive(Debug, Clone, Copy)]
enum Finale {
    Ended,
    Stopped,
    Died,
}

/// A run of two VMs of which `settled` are.
fn run<P: Place>(place: &P, settled: u32, finale: Finale) -> RunKey {
    let run = begin(&place.open(), &[Some("a"), Some("a")]);
    let mut writer = place.open().write(&run).unwrap();
    for item in claim(&mut writer, take(0, settled)) {
        writer.settle(success(item, Outcome::Created, Basis::CreatedFlag));
    }
    let ledger = writer.close().0.unwrap();
    let end = |stopped_by| drop(ledger.end(&run, stopped_by, |_| 0).unwrap());
    match finale {
        Finale::Ended => end(None),
        Finale::Stopped => end(Some(Stop::Deadline)),
        Finale::Died => {}
    }
    run
}

pub(super) fn whether_a_run_is_complete_or_can_be_gone_on_with_is_told_alike_by_all<P: Place>() {
    for (settled, finale, complete, resumable) in [
        (2, Finale::Ended, true, false),
        (2, Finale::Stopped, false, false),
        (1, Finale::Stopped, false, true),
        (2, Finale::Died, false, true),
        (1, Finale::Died, false, true),
    ] {
        let place = P::new();
        let run = run(&place, settled, finale);
        let ledger = place.open();
        let (course, pending) = (ledger.course(&run).unwrap(), ledger.sums(&run).unwrap().pending);
        let pure = (
            is_complete(course.ended_at, course.stopped_by),
            is_resumable(course.ended_at, course.stopped_by, pending.iter().sum()),
        );
        let summary = ledger.summary(&run).unwrap();
        let asked = (ledger.overview(&run).unwrap().complete, ledger.is_unfinished(&run).unwrap());
        let expected = (complete, resumable);
        assert_eq!(
            [pure, (summary.complete, summary.resumable), asked],
            [expected; 3],
            "{settled} settled, {finale:?}"
        );
        assert_eq!(ledger.latest_unfinished().unwrap().is_some(), resumable);
        let successor = begin(&ledger, &[Some("a"), Some("a")]);
        assert_eq!(ledger.baseline(&successor).unwrap().is_some(), complete);
    }
}
