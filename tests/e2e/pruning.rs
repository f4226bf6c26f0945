//! Deleting old runs: the write-ahead log stays short while it goes on, and the room is used again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use v6fleet::allocation::Expected;
use v6fleet::inventory::{Reading, Vm};
use v6fleet::ledger::{Ledger, Location, NewRun, Terms, beside};
use v6fleet::outcome::Kind;
use v6fleet::vm::Action;

use crate::fixture::Fixture;
use crate::fleet;
use crate::ledger::settle_pending;

const RUNS: usize = 60;
const VMS: usize = 2_000;
/// The length at which it is folded, and a commit more.
const LONGEST_LOG: u64 = 20 << 20;

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// One more run, all of whose VMs have been answered.
fn night(fixture: &Fixture) {
    let ledger = Ledger::open(&Location::File(fixture.ledger()), Duration::ZERO).unwrap();
    let new = NewRun {
        kind: Kind::Run,
        dialect: v6fleet::dialect::Dialect::V1,
        base_url: "https://cloud.hostup.se".into(),
        action: Some(Action::Allocate),
        files: vec!["fleet.csv".into()],
        id_files: vec![],
        options: serde_json::Map::new(),
        key_fingerprint: None,
        timeout: Duration::from_secs(30),
        terms: Terms::default(),
    };
    let mut draft = ledger.draft(&new).unwrap();
    for vmid in fleet::vmids(100_000, VMS) {
        let labels = vec![("role".to_owned(), "web".to_owned())];
        let name = Some(format!("vm-{vmid}"));
        let id = vmid.to_string().parse().unwrap();
        let vm = Vm { id, name, action: None, expected: Expected::default(), labels };
        draft.add(&vm, Action::Allocate, Some(fleet::rack_of(vmid))).unwrap();
    }
    draft.commit(&Reading::default(), &[]).unwrap();
    ledger.close().unwrap();
    let allocation = json!({
        "id": "3", "rack_id": "dc1r28", "client_id": "30000", "account_id": "20000", "proxmox_vm_id": "10048",
        "prefix": "2001:db8::/48", "next_hop": "2001:db8::1", "prefix_length": 48, "status": "active",
        "metadata": {},
    });
    settle_pending(fixture, Timestamp::now(), |_| allocation.clone());
}

#[test]
fn deleting_many_runs_keeps_the_log_short_and_the_next_ones_take_their_room() {
    let fixture = Fixture::new();
    (0..RUNS).for_each(|_| night(&fixture));
    let before = length(&fixture.ledger());
    assert!(before > LONGEST_LOG, "{before} bytes of ledger prove nothing");

    let ledger = Ledger::open(&Location::File(fixture.ledger()), Duration::ZERO).unwrap();
    assert_eq!(ledger.prune(1, &mut |_| ()).unwrap(), RUNS - 1);
    // It is as long as it ever was: what is folded is overwritten, not cut off.
    let log = length(&beside(&fixture.ledger(), "-wal"));
    assert!(log <= LONGEST_LOG, "a log of {log} bytes");
    ledger.close().unwrap();

    (0..RUNS / 2).for_each(|_| night(&fixture));
    let after = length(&fixture.ledger());
    assert!(after < before + before / 100, "{before} bytes have become {after}");
    fixture.assert_file_is_sound();
}
