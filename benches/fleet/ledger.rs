//! The ledger without network or inventory: the CPU time that it takes to write a run, to claim its VMs and settle them,
//! and to end it and read it in the inventory's order.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};
use v6fleet::allocation::{Allocation, Expected};
use v6fleet::inventory::{Reading, Vm};
use v6fleet::ledger::{
    Item, LastCall, Ledger, LedgerError, Location, NewRun, RackNo, Reply, RunKey, Settled, Settlement, Take,
    Writer,
};
use v6fleet::outcome::Kind;
use v6fleet::outcome::{Basis, Outcome, Verdict};
use v6fleet::vm::Action;

use crate::figure::{Figure, Samples, Target};
use crate::nights::ROUNDS;

const VMS: u32 = 100_000;

/// VMs claimed at a time, and outcomes that a commit may share: what a run without latency comes to.
const BATCH: u32 = 1024;

pub(crate) fn alone(dir: &Path) -> Vec<Figure> {
    let mut bare = Samples::new();
    let mut runs = [(1, "1 rack"), (1_000, "1,000 racks")].map(|(racks, name)| Run::new(racks, name));
    for round in 0..ROUNDS {
        for run in &mut runs {
            run.measure(&dir.join(format!("alone-{}-{round}.db", run.racks)));
        }
        bare.push(micros(|| insert_all(&dir.join(format!("bare-{round}.db")))).0);
    }
    let bare = told("bare insert", bare, Target::None);
    runs.into_iter().flat_map(Run::figures).chain([bare]).collect()
}

/// CPU time that the steps of a run take, on so many racks.
struct Run {
    racks: u32,
    name: &'static str,
    drafted: Samples,
    settled: Samples,
    read: Samples,
}

impl Run {
    fn new(racks: u32, name: &'static str) -> Self {
        let [drafted, settled, read] = [const { Samples::new() }; 3];
        Self { racks, name, drafted, settled, read }
    }

    fn measure(&mut self, path: &Path) {
        let ledger = Ledger::open(&Location::File(path.to_owned()), Duration::ZERO).unwrap();
        let (cpu, run) = micros(|| draft(&ledger, self.racks));
        self.drafted.push(cpu);
        let answers = answers(self.racks);
        let (cpu, writer) = micros(|| settle_all(ledger.write(&run).unwrap(), self.racks, answers));
        self.settled.push(cpu);
        let (cpu, rows) = micros(|| end_and_read(writer, &run));
        self.read.push(cpu);
        assert_eq!(rows, VMS, "rows read");
    }

    fn figures(self) -> [Figure; 3] {
        let [settled, read] = match self.racks {
            1 => [Target::None; 2],
            _ => [Target::AtMost(3.5), Target::AtMost(5.0)],
        };
        let told = |what, ours, target| told(&format!("{what}, {}", self.name), ours, target);
        [
            told("write the run", self.drafted, Target::None),
            told("claim and settle", self.settled, settled),
            told("end and read", self.read, read),
        ]
    }
}

fn told(what: &str, ours: Samples, target: Target) -> Figure {
    Figure::alone("h", format!("ledger: {what}"), "µs a VM", ours, target)
}

/// CPU time of all our threads, in microseconds a VM.
fn micros<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap().as_secs_f64();
    let before = used();
    let result = work();
    ((used() - before) * 1e6 / f64::from(VMS), result)
}

fn draft(ledger: &Ledger, racks: u32) -> RunKey {
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
        terms: v6fleet::ledger::Terms::default(),
    };
    let mut draft = ledger.draft(&new).unwrap();
    for no in 0..VMS {
        let (id, rack) = (10_000 + no, format!("r{:04}", no / (VMS / racks)));
        let vm = Vm {
            id: id.to_string().parse().unwrap(),
            name: Some(format!("vm-{id}")),
            action: None,
            expected: Expected { rack_id: Some(rack.clone()), ..Expected::default() },
            labels: vec![],
        };
        draft.add(&vm, Action::Allocate, Some(&rack)).unwrap();
    }
    draft.commit(&Reading::default(), &[]).unwrap().run
}

/// What the API says of each VM, in the order of the calls: one that was made just now lies beside it.
fn answers(racks: u32) -> Vec<Answer> {
    let answer = |no| Answer {
        allocation: Box::new(allocation(no, no / (VMS / racks))),
        request_id: format!("2121ae20-bd9d-41e9-aeeb-{no:012}"),
    };
    (0..VMS).map(|turn| answer(turn % racks * (VMS / racks) + turn / racks)).collect()
}

/// When it is the turn of the VM at this place of the inventory, racks in turn.
fn turn(position: u32, racks: u32) -> u32 {
    position % (VMS / racks) * racks + position / (VMS / racks)
}

struct Answer {
    allocation: Box<Allocation>,
    request_id: String,
}

fn allocation(no: u32, rack: u32) -> Allocation {
    let moment = || Some("2026-02-10 00:00:00.658429+00".to_owned().into());
    Allocation {
        id: Some(no.to_string()),
        rack_id: Some(format!("r{rack:04}")),
        client_id: Some("30000".into()),
        account_id: Some("20000".into()),
        proxmox_vm_id: Some((10_048 + no).to_string()),
        prefix: format!("2001:db8:{:x}:{:x}::/64", no >> 16, no & 0xffff).parse().unwrap(),
        next_hop: "2001:db8::1".parse().ok(),
        status: Some("active".into()),
        allocated_at: moment(),
        released_at: None,
        cooldown_until: None,
        created_at: moment(),
        updated_at: moment(),
        metadata_updated_at: moment(),
    }
}

/// Claims and settles all VMs, racks in turn. Returns once that is on disk.
fn settle_all(mut writer: Writer, racks: u32, answers: Vec<Answer>) -> Writer {
    let claim = |writer: &mut Writer| {
        let take = (0..racks).map(|rack| Take { rack: RackNo(rack), vms: BATCH / racks });
        writer.claim(vec![], take.collect(), None, None);
        writer.flush();
    };
    let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
    let mut answer = |item: &Item| {
        let turn = turn(item.position.try_into().unwrap(), racks);
        answers[turn as usize].take().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut left = VMS as usize;
    claim(&mut writer);
    while left > 0 {
        match runtime.block_on(writer.reply()).unwrap() {
            Reply::Claimed(claimed) if claimed.items.is_empty() => writer.flush(),
            Reply::Claimed(claimed) => {
                for item in claimed.items {
                    let answer = answer(&item);
                    writer.settle(settled(item, answer));
                }
                claim(&mut writer);
            }
            Reply::Settled(counted) => left -= counted.len(),
            Reply::Seen(_) | Reply::LeftAlone { .. } | Reply::Paced(_) => {}
            Reply::Lapsed | Reply::Over | Reply::Away(_) | Reply::Back => {
                panic!("a file is leased by nobody, and always there")
            }
            Reply::Failed(error) => panic!("{error}"),
        }
    }
    writer
}

fn settled(mut item: Item, Answer { allocation, request_id }: Answer) -> Settled {
    item.tally.attempts = 1;
    item.tally.first_sent = Some(Timestamp::now());
    let verdict =
        Verdict { outcome: Outcome::Unchanged, basis: Basis::ServerClock, changes: vec![], warnings: vec![] };
    let settlement = Settlement::Success { verdict, allocation, drift: vec![] };
    let last =
        LastCall { http_status: Some(200), request_id: Some(request_id), latency: Duration::from_millis(1) };
    Settled { item, last, at: Timestamp::now(), settlement }
}

/// Ends the run, and returns how many rows it has.
fn end_and_read(writer: Writer, run: &RunKey) -> u32 {
    let ledger = writer.close().0.unwrap();
    ledger.end(run, None, |_| 0).unwrap();
    let mut rows = 0;
    let each = |_| {
        rows += 1;
        Ok::<_, LedgerError>(())
    };
    ledger.each_row(run, each).unwrap();
    ledger.close().unwrap();
    rows
}

/// The yardstick: one insert a VM of what a report says of it, as durable, into a table without an index.
fn insert_all(path: &Path) {
    let mut db = Connection::open(path).unwrap();
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch("CREATE TABLE t (vmid, name, outcome, basis, prefix, next_hop, allocation, settled_at)")
        .unwrap();
    let allocation = serde_json::to_string(&allocation(0, 0)).unwrap();
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
