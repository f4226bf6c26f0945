//! A run before its first call: every selected VM, all written or none.

use std::collections::HashMap;
use std::mem;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use super::column::{kept, moment, span_micros};
use super::database::{Postgres, Run};
use super::job_lock::Job;
use super::{burial, runs, sitting};
use crate::clock;
use crate::inventory::{Reading, Vm};
use crate::ledger::engine;
use crate::ledger::error::LedgerError;
use crate::ledger::job::{fleet, selection};
use crate::ledger::record::{NewRun, RunKey};
use crate::ledger::stored;
use crate::vm::Action;

/// VMs that are sent together.
const STEP: usize = 2_000;

/// Gives the VMs that the job's last run `$2` left without an outcome their turn before the others in run `$1`, and in that
/// run's own order: those that several runs have left come first of all.
const LEFT_OVERS_FIRST: &str = "
    UPDATE v6fleet.items i SET turn = left_over.rank - 4294967296 FROM (
        SELECT old.vmid, row_number() OVER (ORDER BY old.turn) AS rank
        FROM v6fleet.items old LEFT JOIN v6fleet.progress p ON p.item = old.no
        WHERE old.run = $2 AND p.outcome IS NULL
    ) AS left_over
    WHERE i.run = $1 AND i.vmid = left_over.vmid";

const ADD: &str =
    "INSERT INTO v6fleet.items (no, run, turn, vmid, rack, rack_expected, name, action, expected, labels)
    SELECT $1::bigint << 32 | position, $1, position, vmid, rack, rack_expected, name, action, expected, labels
    FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::boolean[], $6::text[], $7::text[], $8::text[], $9::text[])
        AS n (position, vmid, rack, rack_expected, name, action, expected, labels)";

const ADD_RACKS: &str = "INSERT INTO v6fleet.racks (run, no, rack_id)
    SELECT $1, no, rack_id FROM unnest($2::bigint[], $3::text[]) AS n (no, rack_id)";

/// VMs that are not sent yet, by column.
#[derive(Debug, Default)]
struct Unsent {
    positions: Vec<i64>,
    vmids: Vec<String>,
    racks: Vec<i64>,
    racks_expected: Vec<bool>,
    names: Vec<Option<String>>,
    actions: Vec<&'static str>,
    expected: Vec<Option<String>>,
    labels: Vec<Option<String>>,
    /// Racks that no VM before these is on, by number and name.
    new_racks: (Vec<i64>, Vec<Option<String>>),
}

/// In one transaction.
#[derive(Debug)]
pub(super) struct Draft<'p> {
    postgres: &'p Postgres,
    new: NewRun,
    key: RunKey,
    run: Run,
    racks: HashMap<Option<Box<str>>, i64>,
    unsent: Unsent,
    position: i64,
    committed: bool,
}

impl<'p> Draft<'p> {
    pub(super) fn begin(postgres: &'p Postgres, new: &NewRun) -> Result<Self, LedgerError> {
        postgres.leave()?;
        burial::bury_lost(&postgres.session, None)?;
        postgres.session.batch("BEGIN")?;
        let mut draft = Self {
            postgres,
            new: new.clone(),
            key: RunKey { id: String::new() },
            run: Run { no: 0, base: 0, kind: new.kind },
            racks: HashMap::new(),
            unsent: Unsent::default(),
            position: 0,
            committed: false,
        };
        // What comes through a pipe is known once it is read.
        if !new.is_piped() {
            draft.hold_job(String::new())?;
        }
        let now = clock::now();
        draft.key = unused_key(postgres, now)?;
        draft.run = insert(postgres, &draft.key, new, now)?;
        Ok(draft)
    }

    /// The same job is not begun while others carry it out.
    fn hold_job(&self, piped: String) -> Result<(), LedgerError> {
        let Self { postgres, new, .. } = self;
        Job::of_new(new, piped).hold(&postgres.session, postgres.lock_timeout)
    }

    fn rack(&mut self, rack: Option<&str>) -> i64 {
        let rack: Option<Box<str>> = rack.map(Into::into);
        if let Some(&no) = self.racks.get(&rack) {
            return no;
        }
        let no = i64::try_from(self.racks.len()).unwrap_or(i64::MAX);
        let (numbers, names) = &mut self.unsent.new_racks;
        numbers.push(no);
        names.push(rack.as_deref().map(|name| kept(name).into_owned()));
        self.racks.insert(rack, no);
        no
    }

    fn send(&mut self) -> Result<(), LedgerError> {
        let Unsent { positions, vmids, racks, racks_expected, names, actions, expected, labels, new_racks } =
            mem::take(&mut self.unsent);
        let (run, session) = (self.run.no, &self.postgres.session);
        if !new_racks.0.is_empty() {
            session.execute(ADD_RACKS, &[&run, &new_racks.0, &new_racks.1])?;
        }
        let values: [&(dyn ToSql + Sync); 9] =
            [&run, &positions, &vmids, &racks, &racks_expected, &names, &actions, &expected, &labels];
        session.execute(ADD, &values).map(drop)
    }
}

/// One that sorts by time, and that no other run of this ledger has.
fn unused_key(postgres: &Postgres, now: Timestamp) -> Result<RunKey, LedgerError> {
    loop {
        let key = RunKey::new(now);
        let is_used = "SELECT EXISTS (SELECT 1 FROM v6fleet.runs WHERE id = $1)";
        if !postgres.session.one(is_used, &[&key.id], |row| row.try_get(0))? {
            return Ok(key);
        }
    }
}

fn insert(postgres: &Postgres, key: &RunKey, new: &NewRun, now: Timestamp) -> Result<Run, LedgerError> {
    let session = &postgres.session;
    let dialect = new.dialect.as_str();
    let base = "INSERT INTO v6fleet.bases (url, dialect) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    session.execute(base, &[&new.base_url, &dialect])?;
    let base = "SELECT id FROM v6fleet.bases WHERE (url, dialect) = ($1, $2)";
    let base: i64 = session.one(base, &[&new.base_url, &dialect], |row| row.try_get(0))?;
    let run =
        "INSERT INTO v6fleet.runs (id, base, tool_version, action, fleet, inventory, label_columns, options,
            key_fingerprint, timeout_us, warnings, started_at, selection, id_files, kind, piped)
         VALUES ($1, $2, $3, $4, $5, '[]', '[]', $6, $7, $8, '[]', $9, $10, $11, $12, '') RETURNING no";
    let values: [&(dyn ToSql + Sync); 12] = [
        &key.id,
        &base,
        &env!("CARGO_PKG_VERSION"),
        &new.action.map(Action::as_str),
        &fleet(new.kind, &new.files, new.action),
        &stored::json(&new.options),
        &new.key_fingerprint,
        &span_micros(new.timeout),
        &moment(now),
        &selection(&new.options),
        &stored::write_list(&new.id_files).unwrap_or_else(|| "[]".into()),
        &new.kind.as_str(),
    ];
    let no = session.one(run, &values, |row| row.try_get(0))?;
    Ok(Run { no, base, kind: new.kind })
}

impl engine::Draft for Draft<'_> {
    fn add(&mut self, vm: &Vm, action: Action, rack: Option<&str>) -> Result<(), LedgerError> {
        let rack = self.rack(rack);
        let unsent = &mut self.unsent;
        unsent.positions.push(self.position);
        unsent.vmids.push(vm.id.as_str().to_owned());
        unsent.racks.push(rack);
        unsent.racks_expected.push(vm.expected.rack_id.is_some());
        unsent.names.push(vm.name.as_deref().map(|name| kept(name).into_owned()));
        unsent.actions.push(action.as_str());
        unsent.expected.push(stored::beside_the_rack(&vm.expected));
        unsent.labels.push(stored::json_list(&vm.labels));
        self.position += 1;
        if unsent.positions.len() < STEP { Ok(()) } else { self.send() }
    }

    fn skip(&mut self, file: &str, line: u64, field: &str, reason: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO v6fleet.skipped (run, file, line, field, reason) VALUES ($1, $2, $3, $4, $5)";
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        let [file, field, reason] = [file, field, reason].map(kept);
        self.postgres.session.execute(sql, &[&self.run.no, &file, &line, &field, &reason]).map(drop)
    }

    fn selected(&self) -> u64 {
        self.position.unsigned_abs()
    }

    fn commit(mut self: Box<Self>, reading: &Reading, warnings: &[String]) -> Result<RunKey, LedgerError> {
        self.send()?;
        let session = &self.postgres.session;
        let piped = self.new.piped(&reading.files);
        if self.new.is_piped() {
            self.hold_job(piped.clone())?;
        }
        let sql =
            "UPDATE v6fleet.runs SET inventory = $2, label_columns = $3, inventory_vms = $4, warnings = $5,
            piped = $6 WHERE no = $1";
        let values: [&(dyn ToSql + Sync); 6] = [
            &self.run.no,
            &stored::write_list(&reading.files).unwrap_or_else(|| "[]".into()),
            &stored::json(&reading.label_columns),
            &i64::try_from(reading.vms).unwrap_or(i64::MAX),
            &stored::json(warnings),
            &piped,
        ];
        session.execute(sql, &values)?;
        if let Some(last) = runs::unfinished_before(self.postgres, self.run.no)? {
            session.execute(LEFT_OVERS_FIRST, &[&self.run.no, &self.postgres.run(&last)?.no])?;
        }
        sitting::begin(session, self.run.no)?;
        self.postgres.enlist(self.run.no, self.new.terms)?;
        session.batch("COMMIT")?;
        self.committed = true;
        Ok(self.key.clone())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // The server itself rolls back what it could not write; nothing can be done about a failure here.
            let _ = self.postgres.session.batch("ROLLBACK");
        }
    }
}
