//! What the ledger of a fixture remembers, and what is done to it that no command does: the library is asked.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use v6fleet::allocation::Allocation;
use v6fleet::ledger::{LastCall, Ledger, Location, RackNo, Reply, RunKey, Settled, Settlement, Take};
use v6fleet::outcome::{Basis, Verdict};

use crate::fixture::Fixture;

/// The API's limit, as the newest run's successor would begin with it.
pub(crate) fn remembered_rate(fixture: &Fixture) -> Option<f64> {
    let ledger = Ledger::open_read_only(&Location::File(fixture.ledger())).unwrap();
    ledger.remembered_rate(&newest(&ledger)).unwrap()
}

/// Lets the ledger remember a rate, as an earlier run over `fleet.csv` would have.
pub(crate) fn remember(fixture: &Fixture, per_second: f64) {
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--limit", "1"]).exits(0);
    let ledger = Ledger::open(&Location::File(fixture.ledger()), Duration::ZERO).unwrap();
    ledger.remember_rate(&newest(&ledger), Some(per_second)).unwrap();
    ledger.close().unwrap();
}

/// Settles what the newest run left pending, as if each VM had been answered with its allocation at that moment.
/// The run's end is not noted.
pub(crate) fn settle_pending(fixture: &Fixture, at: Timestamp, allocation: impl Fn(&str) -> Value) {
    let ledger = Ledger::open(&Location::File(fixture.ledger()), Duration::ZERO).unwrap();
    let run = newest(&ledger);
    let take = |(rack, pending): (u32, u64)| Take { rack: RackNo(rack), vms: pending.try_into().unwrap() };
    let pending = (0..).zip(ledger.sums(&run).unwrap().pending).map(take).collect();
    let mut writer = ledger.write(&run).unwrap();
    writer.claim(vec![], pending, None, None);
    writer.flush();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let Some(Reply::Claimed(claimed)) = runtime.block_on(writer.reply()) else { panic!("not claimed") };
    for item in claimed.items {
        let allocation = serde_json::from_value(allocation(item.vm.as_str())).unwrap();
        writer.settle(Settled { settlement: created(allocation), last: LastCall::default(), at, item });
    }
    writer.close().0.unwrap().close().unwrap();
}

fn created(allocation: Allocation) -> Settlement {
    let (outcome, basis) = (v6fleet::outcome::Outcome::Created, Basis::CreatedFlag);
    let verdict = Verdict { outcome, basis, changes: vec![], warnings: vec![] };
    Settlement::Success { verdict, allocation: Box::new(allocation), drift: vec![] }
}

fn newest(ledger: &Ledger) -> RunKey {
    ledger.find_run("latest").unwrap()
}
