//! What happened to items between two claims, by column: each table of it is one statement.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::column::{kept, moment};
use super::question::Value;
use crate::allocation::{Allocation, NextHop};
use crate::difference::Ids;
use crate::ledger::dating::{Attempts, Dating};
use crate::ledger::numbers::number;
use crate::ledger::record::{Deferred, LastCall, Setback, Settled, Settlement};
use crate::ledger::stored;
use crate::outcome::{Forecast, Unanswered, Verdict};
use crate::vm::VmId;

type Text = Option<String>;

/// A table of values, and one row of it, by column: its type here, and the database's.
macro_rules! table {
    ($(#[$meta:meta])* $table:ident of $row:ident { $($column:ident: $type:ty = $sql:literal),* $(,)? }) => {
        #[derive(Debug, Default)]
        struct $row { $($column: $type),* }

        $(#[$meta])*
        #[derive(Debug, Default)]
        pub(super) struct $table { $($column: Vec<$type>),* }

        impl $table {
            /// The names of its columns, and the database's types of them.
            pub(super) const COLUMNS: &[[&str; 2]] = &[$([stringify!($column), $sql]),*];

            fn push(&mut self, row: $row) {
                $(self.$column.push(row.$column);)*
            }

            pub(super) fn is_empty(&self) -> bool {
                let Self { $($column),* } = self;
                [$($column.is_empty()),*].contains(&true)
            }

            /// Its columns, in order.
            pub(super) fn into_values(self) -> Vec<Value> {
                vec![$(Box::new(self.$column)),*]
            }
        }
    };
}

table! {
    /// Items that wait for another call.
    Deferrals of Deferral {
        item: i64 = "bigint",
        attempts: i64 = "bigint",
        throttled: i64 = "bigint",
        first_sent_at: Option<SystemTime> = "timestamptz",
        first_sent_clock: Text = "text",
        failure: Text = "text",
        error: Text = "text",
        may_have_applied: bool = "boolean",
        http_status: Option<i64> = "bigint",
        latency_us: Option<i64> = "bigint",
        request_id: Text = "text",
    }
}

table! {
    /// Items that have come to their outcome.
    Outcomes of Fate {
        item: i64 = "bigint",
        attempts: i64 = "bigint",
        throttled: i64 = "bigint",
        first_sent_at: Option<SystemTime> = "timestamptz",
        settled_at: Option<SystemTime> = "timestamptz",
        outcome: Text = "text",
        basis: Text = "text",
        rack_id: Text = "text",
        prefix: Text = "text",
        next_hop: Text = "text",
        planned_next_hop: Text = "text",
        status: Text = "text",
        ids: Text = "text",
        previous_prefix: Text = "text",
        previous_next_hop: Text = "text",
        changes: Text = "text",
        drift: Text = "text",
        warnings: Text = "text",
        failure: Text = "text",
        may_have_applied: bool = "boolean",
        http_status: Option<i64> = "bigint",
        error: Text = "text",
        latency_us: Option<i64> = "bigint",
        request_id: Text = "text",
    }
}

table! {
    /// VMs whose allocation is another than was known.
    News of Novelty { vmid: String = "text", rack_id: Text = "text", allocation: Text = "text", seen_at: Option<SystemTime> = "timestamptz" }
}

table! {
    /// VMs whose allocation was seen again, or was seen to be none.
    Sightings of Glimpse { vmid: String = "text", seen_at: Option<SystemTime> = "timestamptz" }
}

/// What is known by now of attempts whose answer was lost, by VM.
pub(super) type Doubts = BTreeMap<String, Text>;

/// What happened to items between two claims.
#[derive(Debug)]
pub(super) struct Changes {
    run: i64,
    pub(super) released: Vec<i64>,
    pub(super) given_back: Vec<i64>,
    pub(super) deferrals: Deferrals,
    pub(super) outcomes: Outcomes,
    pub(super) news: News,
    pub(super) sightings: Sightings,
    pub(super) absences: Sightings,
    /// Of items that failed or wait.
    pub(super) doubts: Doubts,
    /// Of VMs that were settled before.
    pub(super) remembered: Doubts,
}

impl Changes {
    pub(super) fn of(run: i64) -> Self {
        Self {
            run,
            released: Vec::new(),
            given_back: Vec::new(),
            deferrals: Deferrals::default(),
            outcomes: Outcomes::default(),
            news: News::default(),
            sightings: Sightings::default(),
            absences: Sightings::default(),
            doubts: Doubts::new(),
            remembered: Doubts::new(),
        }
    }

    /// Claimed items whose call never left.
    pub(super) fn release(&mut self, positions: &[i64]) {
        self.released.extend(positions.iter().map(|position| number(self.run, *position)));
    }

    /// Items that are nobody's from now on.
    pub(super) fn give_back(&mut self, positions: &[i64]) {
        self.given_back.extend(positions.iter().map(|position| number(self.run, *position)));
    }

    /// `first_sent` is the clock of the item's first call, where that is known.
    pub(super) fn defer(&mut self, deferred: &Deferred, first_sent: Option<&Dating>) {
        let Deferred { position, vm, tally, unanswered, last, setback } = deferred;
        self.doubts.insert(vm.as_str().to_owned(), Attempts::written(unanswered));
        self.deferrals.push(Deferral {
            item: number(self.run, *position),
            attempts: tally.attempts.into(),
            throttled: tally.throttled.into(),
            first_sent_at: tally.first_sent.map(moment),
            first_sent_clock: first_sent.and_then(stored::json),
            failure: Some(setback.failure.as_str().to_owned()),
            error: Some(kept(&setback.error).into_owned()),
            may_have_applied: setback.may_have_applied,
            http_status: last.http_status.map(i64::from),
            latency_us: last.latency_us().map(i64::from),
            request_id: request_id(last),
        });
    }

    pub(super) fn settle(&mut self, settled: &Settled) {
        let Settled { item, last, at, settlement } = settled;
        let fate = Fate {
            item: number(self.run, item.position),
            attempts: item.tally.attempts.into(),
            throttled: item.tally.throttled.into(),
            first_sent_at: item.tally.first_sent.map(moment),
            settled_at: Some(moment(*at)),
            outcome: Some(settlement.outcome().as_str().to_owned()),
            http_status: last.http_status.map(i64::from),
            latency_us: last.latency_us().map(i64::from),
            request_id: request_id(last),
            ..Fate::default()
        };
        let fate = match settlement {
            Settlement::Success { verdict, allocation, drift } => {
                self.see(settled, allocation);
                let fate = Fate { drift: stored::write_list(drift), ..concluded(fate, verdict) };
                after(answered(fate, allocation), item.before.as_ref())
            }
            Settlement::Forecast { forecast, allocation, drift } => {
                self.look(settled, allocation.as_deref());
                let fate = Fate { drift: stored::write_list(drift), ..foreseen(fate, forecast) };
                allocation.iter().fold(fate, |fate, allocation| answered(fate, allocation))
            }
            Settlement::Failed(setback) => {
                self.doubts.insert(item.vm.as_str().to_owned(), Attempts::written(&item.unanswered));
                after(failed(fate, setback), item.before.as_ref())
            }
        };
        self.outcomes.push(fate);
    }

    /// What is known by now of a settled VM's attempts.
    pub(super) fn remember(&mut self, vm: &VmId, attempts: &[Unanswered]) {
        self.remembered.insert(vm.as_str().to_owned(), Attempts::written(attempts));
    }

    /// While an answer is lost, what a look has found is no news: only a call's answer tells what the lost one did.
    fn look(&mut self, settled: &Settled, found: Option<&Allocation>) {
        let Settled { item, at, .. } = settled;
        match found {
            _ if !item.unanswered.is_empty() => {}
            Some(allocation) => self.see(settled, allocation),
            None => {
                let (vmid, seen_at) = (item.vm.as_str().to_owned(), Some(moment(*at)));
                self.absences.push(Glimpse { vmid, seen_at });
            }
        }
    }

    fn see(&mut self, Settled { item, at, .. }: &Settled, allocation: &Allocation) {
        let (vmid, seen_at) = (item.vm.as_str().to_owned(), Some(moment(*at)));
        match item.news(allocation) {
            None => self.sightings.push(Glimpse { vmid, seen_at }),
            Some(news) => {
                // A rack that the answer left unknown is as it was known.
                let rack = allocation.rack_id.as_ref().or(news.rack_id.as_ref());
                let rack_id = rack.map(|rack| kept(rack).into_owned());
                self.news.push(Novelty { vmid, rack_id, allocation: stored::write(&*news), seen_at });
            }
        }
    }
}

fn concluded(fate: Fate, verdict: &Verdict) -> Fate {
    Fate {
        basis: Some(verdict.basis.as_str().to_owned()),
        changes: stored::write_list(&verdict.changes),
        warnings: stored::json_list(&verdict.warnings),
        ..fate
    }
}

fn foreseen(fate: Fate, forecast: &Forecast) -> Fate {
    Fate {
        error: forecast.reason.as_deref().map(|reason| kept(reason).into_owned()),
        warnings: stored::json_list(&forecast.warnings),
        planned_next_hop: forecast.next_hop.as_ref().map(|hop| hop.as_str().to_owned()),
        ..fate
    }
}

/// With what was known before.
fn after(fate: Fate, before: Option<&Allocation>) -> Fate {
    Fate {
        previous_prefix: before.map(|before| before.prefix.as_str().to_owned()),
        previous_next_hop: before.and_then(next_hop),
        ..fate
    }
}

fn answered(fate: Fate, allocation: &Allocation) -> Fate {
    let text = |text: &Text| text.as_deref().map(|text| kept(text).into_owned());
    Fate {
        rack_id: text(&allocation.rack_id),
        prefix: Some(allocation.prefix.as_str().to_owned()),
        next_hop: next_hop(allocation),
        status: text(&allocation.status),
        ids: stored::write(&Ids::from(allocation)),
        ..fate
    }
}

fn failed(fate: Fate, setback: &Setback) -> Fate {
    Fate {
        failure: Some(setback.failure.as_str().to_owned()),
        error: Some(kept(&setback.error).into_owned()),
        may_have_applied: setback.may_have_applied,
        ..fate
    }
}

fn next_hop(allocation: &Allocation) -> Text {
    allocation.next_hop.as_ref().map(|hop| NextHop::as_str(hop).to_owned())
}

fn request_id(last: &LastCall) -> Text {
    last.request_id.as_deref().map(|id| kept(id).into_owned())
}
