//! A ledger as plain rows: what every engine can give out and take in, however its own tables are made.
//!
//! Events stand folded in it: what is known of an item is one row, and what is known of a VM is another. What belongs to
//! processes that are alive (locks, leases, workers) is no part of it. Texts are to the letter, and numbers stay what they are:
//! runs keep their order, and items their places.

use sha2::{Digest, Sha256};

use crate::words::words;

words! {
    /// What rows are of, in an order in which each finds there what it refers to.
    Table {
        Bases = "bases",
        Runs = "runs",
        Racks = "racks",
        Skipped = "skipped",
        Items = "items",
        /// What has become of items since their first call.
        Progress = "progress",
        /// Calls that are in flight, or were when their process died.
        Claims = "claims",
        Vms = "vms",
        Rates = "rates",
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Number,
    Real,
    /// 0 or 1.
    Flag,
    /// Microseconds since 1970.
    Moment,
    /// A word of ours, or JSON.
    Word,
    /// A text from outside: any character may be in it.
    Text,
}

/// A column by its name.
pub(super) type Column = (&'static str, Holds);

/// What stands in a column of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Number(i64),
    Real(f64),
    Text(String),
}

/// A row: the values of a table's columns, in their order.
pub(super) type Record = Vec<Value>;

use Holds::{Flag, Moment, Number, Real, Text, Word};

const BASES: &[Column] = &[("id", Number), ("url", Word), ("dialect", Word)];

const RUNS: &[Column] = &[
    ("no", Number),
    ("id", Word),
    ("base", Number),
    ("kind", Word),
    ("tool_version", Word),
    ("action", Word),
    ("fleet", Word),
    ("selection", Word),
    ("piped", Word),
    ("inventory", Word),
    ("inventory_vms", Number),
    ("id_files", Word),
    ("label_columns", Word),
    ("options", Word),
    ("key_fingerprint", Word),
    ("timeout_us", Number),
    ("warnings", Word),
    ("started_at", Moment),
    ("resumed_at", Moment),
    ("resumes", Number),
    ("calls_before", Number),
    ("braked", Word),
    ("ended_at", Moment),
    ("stopped_by", Word),
    ("exit_code", Number),
    ("counts", Word),
    ("pinned", Flag),
    ("pruned", Flag),
    ("written", Text),
    ("workers", Text),
];

const RACKS: &[Column] = &[("run", Number), ("no", Number), ("rack_id", Text)];

const SKIPPED: &[Column] =
    &[("run", Number), ("no", Number), ("file", Text), ("line", Number), ("field", Text), ("reason", Text)];

/// The turn is that of an item which comes before the others of its rack; NULL of those.
const ITEMS: &[Column] = &[
    ("no", Number),
    ("run", Number),
    ("turn", Number),
    ("vmid", Word),
    ("rack", Number),
    ("rack_expected", Flag),
    ("name", Text),
    ("action", Word),
    ("expected", Word),
    ("labels", Word),
];

const PROGRESS: &[Column] = &[
    ("item", Number),
    ("attempts", Number),
    ("throttled", Number),
    ("first_sent_at", Moment),
    ("first_sent_clock", Word),
    ("settled_at", Moment),
    ("outcome", Word),
    ("basis", Word),
    ("rack_id", Text),
    ("prefix", Word),
    ("next_hop", Word),
    ("planned_next_hop", Word),
    ("status", Text),
    ("ids", Word),
    ("previous_prefix", Word),
    ("previous_next_hop", Word),
    ("changes", Word),
    ("drift", Word),
    ("warnings", Word),
    ("failure", Word),
    ("may_have_applied", Flag),
    ("http_status", Number),
    ("error", Text),
    ("latency_us", Number),
    ("request_id", Text),
];

/// The clock is that by which a claim is dated.
const CLAIMS: &[Column] = &[("item", Number), ("claimed_at", Moment), ("clock", Word)];

const VMS: &[Column] = &[
    ("base", Number),
    ("vmid", Word),
    ("rack_id", Text),
    ("allocation", Word),
    ("seen_at", Moment),
    ("unanswered", Word),
];

const RATES: &[Column] =
    &[("base", Number), ("key_fingerprint", Word), ("per_second", Real), ("found_at", Moment)];

impl Table {
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Bases => BASES,
            Self::Runs => RUNS,
            Self::Racks => RACKS,
            Self::Skipped => SKIPPED,
            Self::Items => ITEMS,
            Self::Progress => PROGRESS,
            Self::Claims => CLAIMS,
            Self::Vms => VMS,
            Self::Rates => RATES,
        }
    }

    /// Its columns as `write` writes each, one after the other.
    pub(super) fn list(self, write: impl Fn(usize, Column) -> String) -> String {
        let columns = self.columns().iter().enumerate().map(|(nth, column)| write(nth, *column));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// What one row of it is to people, and several.
    pub(super) fn rows_in_words(self) -> [&'static str; 2] {
        match self {
            Self::Bases => ["API", "APIs"],
            Self::Runs => ["run", "runs"],
            Self::Racks => ["rack of a run", "racks of runs"],
            Self::Skipped => ["skipped row", "skipped rows"],
            Self::Items => ["VM of a run", "VMs of runs"],
            Self::Progress => ["VM that was called", "VMs that were called"],
            Self::Claims => ["call in flight", "calls in flight"],
            Self::Vms => ["VM known", "VMs known"],
            Self::Rates => ["learned rate", "learned rates"],
        }
    }
}

/// Rows, counted and added up: the same of the same rows, in whatever order they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heap {
    pub(super) rows: u64,
    sum: u128,
}

impl Heap {
    pub(super) fn add(&mut self, records: &[Record]) {
        for record in records {
            self.rows += 1;
            self.sum = self.sum.wrapping_add(number_of(record));
        }
    }
}

/// As good as another one for every other row.
fn number_of(record: &Record) -> u128 {
    let mut hash = Sha256::new();
    for value in record {
        value.hash(&mut hash);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    u128::from_le_bytes(half)
}

impl Value {
    fn hash(&self, hash: &mut Sha256) {
        match self {
            Self::Null => hash.update([0]),
            Self::Number(number) => hash.update([&[1][..], &number.to_le_bytes()].concat()),
            Self::Real(real) => hash.update([&[2][..], &real.to_bits().to_le_bytes()].concat()),
            Self::Text(text) => {
                hash.update([&[3][..], &text.len().to_le_bytes()].concat());
                hash.update(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap(records: &[&[Value]]) -> Heap {
        let mut heap = Heap::default();
        heap.add(&records.iter().map(|record| record.to_vec()).collect::<Vec<_>>());
        heap
    }

    #[test]
    fn heaps_are_the_same_where_their_rows_are_and_differ_where_one_value_does() {
        let text = |text: &str| Value::Text(text.to_owned());
        let (one, two) = ([Value::Number(1), text("ab"), text("")], [Value::Null, text("a"), text("b")]);
        assert_eq!(heap(&[&one, &two]), heap(&[&two, &one]));
        for other in [
            [Value::Number(2), text("ab"), text("")],
            [Value::Number(1), text("a"), text("b")],
            [Value::Number(1), text("ab"), Value::Null],
            [Value::Real(1.0), text("ab"), text("")],
        ] {
            assert_ne!(heap(&[&other, &two]), heap(&[&one, &two]), "{other:?}");
        }
        assert_ne!(heap(&[&one, &one]), heap(&[&one]));
    }
}
