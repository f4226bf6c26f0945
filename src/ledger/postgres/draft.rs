//! A run before its first call: every selected VM, all written or none.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::{iter, mem};

use jiff::Timestamp;
use tokio_postgres::Row;

use super::column::{kept, moment, span_micros};
use super::database::{Postgres, Run};
use super::job_lock::{Job, take_job};
use super::question::{Question, Value, each_to_its_question};
use super::runs::UNFINISHED_BEFORE;
use super::{sitting, start};
use crate::clock;
use crate::inventory::{Reading, Vm};
use crate::ledger::engine;
use crate::ledger::error::LedgerError;
use crate::ledger::job::{SANDBOX, fleet, refuse_mixing, selection};
use crate::ledger::record::{Begun, NewRun, RunKey};
use crate::ledger::stored;
use crate::vm::Action;

/// VMs that are sent together.
const STEP: usize = 2_000;

/// So many of these wait for each other, so that a fleet is sent in a few round trips.
const STEPS: usize = 16;

/// Gives the VMs that the job's last run left without an outcome their turn before the others in run `$1`, and in that
/// run's own order: those that several runs have left come first of all.
static LEFT_OVERS_FIRST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE v6fleet.items i SET turn = left_over.rank - 4294967296 FROM (
            SELECT old.vmid, row_number() OVER (ORDER BY old.turn) AS rank
            FROM v6fleet.items old LEFT JOIN v6fleet.progress p ON p.item = old.no
            WHERE old.run = ({}) AND p.outcome IS NULL
        ) AS left_over
        WHERE i.run = $1 AND i.vmid = left_over.vmid",
        *UNFINISHED_BEFORE
    )
});

/// How many APIs are known of another kind than that of base URL `$2`; `$1` is the one of rehearsals.
pub(super) const OF_THE_OTHER_KIND: &str = "SELECT count(*) FROM v6fleet.bases WHERE (url = $1) <> ($2 = $1)";

/// Of those that add the same one at once all but one wait: a job that another has just begun is known to be that one's before, but
/// where `$5` says that it is not to be looked at yet.
const ADD_BASE: &str = concat!(
    "INSERT INTO v6fleet.bases (url, dialect) SELECT $1, $2 WHERE CASE WHEN $5 THEN true ELSE ",
    take_job!(),
    " END ON CONFLICT DO NOTHING"
);

/// Adds nothing where another run has the id.
const ADD_RUN: &str =
    "INSERT INTO v6fleet.runs (id, base, tool_version, action, fleet, inventory, label_columns, options,
        key_fingerprint, timeout_us, warnings, started_at, selection, id_files, kind, piped)
    SELECT $1, b.id, $4, $5, $6, '[]', '[]', $7, $8, $9, '[]', $10, $11, $12, $13, ''
    FROM v6fleet.bases b WHERE (b.url, b.dialect) = ($2, $3)
    ON CONFLICT (id) DO NOTHING RETURNING no, base";

const ADD: &str =
    "INSERT INTO v6fleet.items (no, run, turn, vmid, rack, rack_expected, name, action, expected, labels)
    SELECT $1::bigint << 32 | position, $1, position, vmid, rack, rack_expected, name, action, expected, labels
    FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::boolean[], $6::text[], $7::text[], $8::text[], $9::text[])
        AS n (position, vmid, rack, rack_expected, name, action, expected, labels)";

const ADD_SKIPPED: &str = "INSERT INTO v6fleet.skipped (run, file, line, field, reason)
    SELECT $1, file, line, field, reason
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS n (file, line, field, reason)";

const ADD_RACKS: &str = "INSERT INTO v6fleet.racks (run, no, rack_id)
    SELECT $1, no, rack_id FROM unnest($2::bigint[], $3::text[]) AS n (no, rack_id)";

/// What is known once the inventory is read.
const READ: &str = "UPDATE v6fleet.runs SET inventory = $2, label_columns = $3, inventory_vms = $4, warnings = $5, piped = $6
    WHERE no = $1";

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
    /// Of rows that are skipped: the file, the column and the reason.
    skipped_texts: [Vec<String>; 3],
    skipped_lines: Vec<i64>,
}

/// In one transaction.
#[derive(Debug)]
pub(super) struct Draft<'p> {
    postgres: &'p Postgres,
    new: NewRun,
    key: RunKey,
    run: Run,
    /// The number of each rack.
    numbers: HashMap<Option<Arc<str>>, usize>,
    /// By number.
    racks: Vec<Option<Arc<str>>>,
    /// VMs of each.
    vms: Vec<u64>,
    unsent: Unsent,
    position: i64,
    /// Steps that are on their way with the next question.
    steps: usize,
    committed: bool,
}

impl<'p> Draft<'p> {
    pub(super) fn begin(postgres: &'p Postgres, new: &NewRun) -> Result<Self, LedgerError> {
        postgres.leave();
        postgres.session.batch_later(postgres.session.begin());
        let mut draft = Self {
            postgres,
            new: new.clone(),
            key: RunKey { id: String::new() },
            run: Run { no: 0, base: 0, kind: new.kind },
            numbers: HashMap::new(),
            racks: vec![],
            vms: vec![],
            unsent: Unsent::default(),
            position: 0,
            steps: 0,
            committed: false,
        };
        (draft.key, draft.run) = draft.insert(clock::now())?;
        Ok(draft)
    }

    /// The same job is not begun while others carry it out.
    fn hold_job(&self, piped: String, then: &[Question]) -> Result<Vec<Vec<Row>>, LedgerError> {
        let Self { postgres, new, .. } = self;
        Job::of_new(new, piped).hold(&postgres.session, postgres.lock_timeout, None, then)
    }

    /// A new run, under an id that sorts by time and that no other run of this ledger has.
    fn insert(&self, now: Timestamp) -> Result<(RunKey, Run), LedgerError> {
        let Self { postgres: Postgres { session, .. }, new, .. } = self;
        let numbers = |row: &Row| Ok(Run { no: row.try_get(0)?, base: row.try_get(1)?, kind: new.kind });
        loop {
            let key = RunKey::new(now);
            let asked = adding(new, &key, now);
            let answers = match new.is_piped() {
                // Which job it is is known once all is read.
                true => session.all_of(&asked)?,
                false => self.hold_job(String::new(), &asked)?,
            };
            let [others, _, run] = each_to_its_question(answers);
            let others = session.read(&others, |row| row.try_get(0))?.pop();
            refuse_mixing(others.unwrap_or_default(), &new.base_url)?;
            if let Some(run) = session.read(&run, numbers)?.pop() {
                return Ok((key, run));
            }
        }
    }

    fn rack(&mut self, rack: Option<&str>) -> usize {
        let rack: Option<Arc<str>> = rack.map(Into::into);
        if let Some(&no) = self.numbers.get(&rack) {
            return no;
        }
        let no = self.racks.len();
        let (numbers, names) = &mut self.unsent.new_racks;
        numbers.push(column_of(no));
        names.push(rack.as_deref().map(|name| kept(name).into_owned()));
        self.racks.push(rack.clone());
        self.vms.push(0);
        self.numbers.insert(rack, no);
        no
    }

    /// Nobody waits for these, but for so many.
    fn send(&mut self) -> Result<(), LedgerError> {
        let session = &self.postgres.session;
        mem::take(&mut self.unsent).adding(self.run.no).into_iter().for_each(|add| session.later(add));
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) { session.send() } else { Ok(()) }
    }
}

impl Unsent {
    fn adding(self, run: i64) -> Vec<Question> {
        let Self { positions, vmids, racks, racks_expected, names, actions, expected, labels, .. } = self;
        let (rack_numbers, rack_names) = self.new_racks;
        let [files, fields, reasons] = self.skipped_texts;
        let adding: [(_, bool, Vec<Value>); 3] = [
            (ADD_RACKS, rack_numbers.is_empty(), vec![Box::new(rack_numbers), Box::new(rack_names)]),
            (
                ADD,
                positions.is_empty(),
                vec![
                    Box::new(positions),
                    Box::new(vmids),
                    Box::new(racks),
                    Box::new(racks_expected),
                    Box::new(names),
                    Box::new(actions),
                    Box::new(expected),
                    Box::new(labels),
                ],
            ),
            (
                ADD_SKIPPED,
                fields.is_empty(),
                vec![Box::new(files), Box::new(self.skipped_lines), Box::new(fields), Box::new(reasons)],
            ),
        ];
        let needed = adding.into_iter().filter(|(_, is_empty, _)| !is_empty);
        let of_run = || iter::once::<Value>(Box::new(run));
        needed.map(|(sql, _, values)| Question::new(sql, of_run().chain(values).collect())).collect()
    }
}

/// What adds a run, of which the last answers its numbers; and first of all asks for runs that it may not stand beside.
fn adding(new: &NewRun, key: &RunKey, now: Timestamp) -> [Question; 3] {
    let NewRun { base_url, action, options, .. } = new;
    let mut of_base = Job::of_new(new, String::new()).key();
    of_base.push(Box::new(new.is_piped()));
    let of_run: Vec<Value> = vec![
        Box::new(key.id.clone()),
        Box::new(base_url.clone()),
        Box::new(new.dialect.as_str()),
        Box::new(env!("CARGO_PKG_VERSION")),
        Box::new(action.map(Action::as_str)),
        Box::new(fleet(new.kind, &new.files, new.action)),
        Box::new(stored::json(options)),
        Box::new(new.key_fingerprint.clone()),
        Box::new(span_micros(new.timeout)),
        Box::new(moment(now)),
        Box::new(selection(options)),
        Box::new(stored::write_list(&new.id_files).unwrap_or_else(|| "[]".into())),
        Box::new(new.kind.as_str()),
    ];
    let others: Vec<Value> = vec![Box::new(SANDBOX), Box::new(base_url.clone())];
    [
        Question::new(OF_THE_OTHER_KIND, others),
        Question::new(ADD_BASE, of_base),
        Question::new(ADD_RUN, of_run),
    ]
}

/// A count or number of something, as a column has it.
fn column_of(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl engine::Draft for Draft<'_> {
    fn add(&mut self, vm: &Vm, action: Action, rack: Option<&str>) -> Result<(), LedgerError> {
        let rack = self.rack(rack);
        self.vms[rack] += 1;
        let unsent = &mut self.unsent;
        unsent.positions.push(self.position);
        unsent.vmids.push(vm.id.as_str().to_owned());
        unsent.racks.push(column_of(rack));
        unsent.racks_expected.push(vm.expected.rack_id.is_some());
        unsent.names.push(vm.name.as_deref().map(|name| kept(name).into_owned()));
        unsent.actions.push(action.as_str());
        unsent.expected.push(stored::beside_the_rack(&vm.expected));
        unsent.labels.push(stored::json_list(&vm.labels));
        self.position += 1;
        if unsent.positions.len() < STEP { Ok(()) } else { self.send() }
    }

    fn skip(&mut self, file: &str, line: u64, field: &str, reason: &str) -> Result<(), LedgerError> {
        let texts = &mut self.unsent.skipped_texts;
        texts
            .iter_mut()
            .zip([file, field, reason])
            .for_each(|(texts, text)| texts.push(kept(text).into_owned()));
        self.unsent.skipped_lines.push(i64::try_from(line).unwrap_or(i64::MAX));
        if self.unsent.skipped_lines.len() < STEP { Ok(()) } else { self.send() }
    }

    fn selected(&self) -> u64 {
        self.position.unsigned_abs()
    }

    fn commit(mut self: Box<Self>, reading: &Reading, warnings: &[String]) -> Result<Begun, LedgerError> {
        self.send()?;
        let piped = self.new.piped(&reading.files);
        if self.new.is_piped() {
            self.hold_job(piped.clone(), &[])?;
        }
        let Postgres { session, .. } = self.postgres;
        session.later(Question::new(
            READ,
            vec![
                Box::new(self.run.no),
                Box::new(stored::write_list(&reading.files).unwrap_or_else(|| "[]".into())),
                Box::new(stored::json(&reading.label_columns)),
                Box::new(i64::try_from(reading.vms).unwrap_or(i64::MAX)),
                Box::new(stored::json(warnings)),
                Box::new(piped),
            ],
        ));
        session.later(Question::new(LEFT_OVERS_FIRST.as_str(), vec![Box::new(self.run.no)]));
        sitting::begin_first(session, self.run.no, self.position);
        let told = self.postgres.enlist_and_commit(self.run.no, self.new.terms, start::asking(self.run))?;
        self.committed = true;
        self.postgres.know(&self.key, self.run);
        self.postgres.last_racks.replace(Some((self.run.no, self.racks.clone())));
        let (racks, vms) = (mem::take(&mut self.racks), mem::take(&mut self.vms));
        Ok(Begun { run: self.key.clone(), start: start::first(session, self.run.kind, racks, vms, &told)? })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // The server itself rolls back what it could not write; nothing can be done about a failure here.
            self.postgres.session.roll_back();
        }
    }
}
