//! The ledger without network or inventory: what it costs to write a run, to claim its VMs and to settle them.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, params};
use v6fleet::allocation::{Allocation, Expected};
use v6fleet::inventory::{Action, Reading, Vm};
use v6fleet::ledger::{
    Item, LastCall, Ledger, NewRun, RackNo, Reply, RunKey, Settled, Settlement, Take, Writer,
};
use v6fleet::outcome::{Basis, Outcome, Verdict};

use crate::case::ROUNDS;
use crate::figure::{Figure, Samples, Target};

const VMS: u32 = 100_000;

/// VMs claimed at a time, and outcomes that a commit may share: what a run without latency comes to.
const BATCH: u32 = 1024;

pub(crate) fn alone(dir: &Path) -> Vec<Figure> {
    let [mut drafted, mut settled, mut bare] = [const { Samples::new() }; 3];
    for round in 0..ROUNDS {
        let ledger = Ledger::open(&dir.join(format!("alone-{round}.db")), Duration::ZERO).unwrap();
        let begun = Instant::now();
        let run = draft(&ledger);
        drafted.push(micros(begun));
        let begun = Instant::now();
        settle_all(ledger.write(&run).unwrap());
        settled.push(micros(begun));
        let begun = Instant::now();
        insert_all(&dir.join(format!("bare-{round}.db")));
        bare.push(micros(begun));
    }
    let beside = |what, ours| {
        let yardstick = Some(("bare insert", bare.clone()));
        Figure { case: "h", what, unit: "µs a VM", ours, yardstick, target: Target::None }
    };
    vec![beside("ledger: write the run", drafted), beside("ledger: claim and settle", settled)]
}

/// Microseconds a VM since `begun`.
fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(VMS)
}

fn draft(ledger: &Ledger) -> RunKey {
    let new = NewRun {
        base_url: "https://cloud.hostup.se".into(),
        action: Some(Action::Allocate),
        files: vec!["fleet.csv".into()],
        id_files: vec![],
        options: serde_json::Map::new(),
        key_fingerprint: None,
        timeout: Duration::from_secs(30),
    };
    let mut draft = ledger.draft(&new).unwrap();
    for id in 10_000..10_000 + VMS {
        let vm = Vm {
            id: id.to_string().parse().unwrap(),
            name: Some(format!("vm-{id}")),
            action: None,
            expected: Expected { rack_id: Some("r00".into()), ..Expected::default() },
            labels: vec![],
        };
        draft.add(&vm, Action::Allocate, Some("r00")).unwrap();
    }
    draft.commit(&Reading::default(), &[]).unwrap()
}

fn settle_all(mut writer: Writer) {
    let allocation = allocation();
    let claim = |writer: &mut Writer| writer.claim(vec![], vec![Take { rack: RackNo(0), vms: BATCH }], None);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut left = VMS as usize;
    claim(&mut writer);
    while left > 0 {
        match runtime.block_on(writer.reply()).unwrap() {
            Reply::Claimed(claimed) if claimed.items.is_empty() => writer.flush(),
            Reply::Claimed(claimed) => {
                claimed.items.into_iter().for_each(|item| writer.settle(settled(item, &allocation)));
                claim(&mut writer);
            }
            Reply::Settled(counted) => left -= counted.len(),
            Reply::Failed(error) => panic!("{error}"),
        }
    }
    writer.close().0.unwrap().close().unwrap();
}

fn allocation() -> Allocation {
    let moment = || Some("2026-02-10 00:00:00.658429+00".to_owned().into());
    Allocation {
        id: Some("3".into()),
        rack_id: Some("r00".into()),
        client_id: Some("30000".into()),
        account_id: Some("20000".into()),
        proxmox_vm_id: Some("10048".into()),
        prefix: "2001:db8::/48".parse().unwrap(),
        next_hop: "2001:db8::1".parse().unwrap(),
        status: Some("active".into()),
        allocated_at: moment(),
        released_at: None,
        cooldown_until: None,
        created_at: moment(),
        updated_at: moment(),
        metadata_updated_at: moment(),
    }
}

fn settled(mut item: Item, allocation: &Allocation) -> Settled {
    item.tally.attempts = 1;
    item.tally.first_sent = Some(Timestamp::now());
    let verdict =
        Verdict { outcome: Outcome::Unchanged, basis: Basis::ServerClock, changes: vec![], warnings: vec![] };
    let settlement = Settlement::Success { verdict, allocation: Box::new(allocation.clone()), drift: vec![] };
    let last = LastCall { http_status: Some(200), request_id: None, latency: Duration::from_millis(1) };
    Settled { item, last, at: Timestamp::now(), settlement }
}

/// The yardstick: one insert a VM of what a report says of it, as durable, into a table without an index.
fn insert_all(path: &Path) {
    let mut db = Connection::open(path).unwrap();
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch("CREATE TABLE t (vmid, name, outcome, basis, prefix, next_hop, allocation, settled_at)")
        .unwrap();
    let allocation = serde_json::to_string(&allocation()).unwrap();
    for first in (0..VMS).step_by(BATCH as usize) {
        let commit = db.transaction().unwrap();
        let mut insert =
            commit.prepare_cached("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)").unwrap();
        for id in first..VMS.min(first + BATCH) {
            let name = format!("vm-{id}");
            let (outcome, basis, prefix, hop) = ("unchanged", "server_clock", "2001:db8::/48", "2001:db8::1");
            insert
                .execute(params![id, name, outcome, basis, prefix, hop, allocation, i64::from(id)])
                .unwrap();
        }
        drop(insert);
        commit.commit().unwrap();
    }
}
