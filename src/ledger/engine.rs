//! What an engine must do that keeps a ledger: runs, the VMs of each, and what was last seen of every VM.
//!
//! What an engine promises, whatever breaks: a claim is on disk before its call leaves, an outcome before it is counted; a
//! VM is settled once in a run; what was claimed when a process died counts as called, its answer lost; and a reader sees
//! all of that at any moment. `contract.rs` holds every engine to it.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;

use super::error::LedgerError;
use super::plain::{Record, Table};
use super::protocol::{Reply, Request};
use super::record::{
    Baseline, Begun, Bulletin, Closing, Course, Ending, Entry, Finish, LastInventory, LastKnown, NewRun,
    Overview, Pair, PendingVms, Row, RunInfo, RunKey, Sighting, Skipped, Start, Terms, Unfinished, Worker,
    WrittenFile,
};
use super::sums::Sums;
use crate::allocation::Allocation;
use crate::dialect::Dialect;
use crate::inventory::{InventoryFile, Reading, Vm};
use crate::outcome::{Kind, Outcome};
use crate::stop::Stop;
use crate::vm::{Action, VmId};

/// Shown one thing after the other, until it has had enough.
pub(super) type Each<'e, T> = &'e mut dyn FnMut(T) -> ControlFlow<()>;

/// Handed rows, a batch after the other.
pub(super) type EachBatch<'e> = &'e mut dyn FnMut(Vec<Record>) -> Result<(), LedgerError>;

/// What is said of a claimed VM.
pub(super) const IN_FLIGHT: &str = "a call for this VM is in flight, or was when the process died";

/// What is said of a VM that was left claimed.
pub(super) const LEFT_IN_FLIGHT: &str =
    "the run ended while a call for this VM was in flight, or about to leave";

/// An open ledger.
pub trait Engine: Begin + Runs + Vms + Known + Rates + Plain + Send + Debug {
    /// What it is opened by.
    fn path(&self) -> &Path;

    /// Whether several processes can work on one run.
    fn is_shared(&self) -> bool;

    /// The ids of the runs that are under way, or were a moment `before`: asked before and after reading, it is known of
    /// every state that was read between.
    fn under_way(&self, before: Vec<String>) -> Result<Vec<String>, LedgerError>;

    /// Where a run that this ledger is written for tells how it stands; `None` where there is no such place.
    fn board(&self, run: &RunKey) -> Option<Box<dyn Board>>;

    /// What the run that is under way told last.
    fn bulletin(&self) -> Result<Option<Bulletin>, LedgerError>;

    /// Who says that he writes now, and which run; of several the last.
    fn holder(&self) -> Result<Option<String>, LedgerError>;

    /// The same, but for the run.
    fn holder_alone(&self) -> Result<Option<String>, LedgerError>;

    /// Who keeps a run of this job from beginning now, or from being gone on with: in a file whoever writes, elsewhere who
    /// works on a run of the same job. `inventory` is asked for what is piped in.
    fn holder_of(&self, job: &NewRun, inventory: &[InventoryFile]) -> Result<Option<String>, LedgerError>;

    /// The schema that the ledger has, and the one that a writer brings it to.
    fn schema(&self) -> Result<(u32, u32), LedgerError>;

    /// Lets everything that is read from now on see one state, whatever a run writes meanwhile.
    fn hold_still(&self) -> Result<(), LedgerError>;

    /// Ends that.
    fn let_go(&self) -> Result<(), LedgerError>;

    /// What there is to know before a run is carried out.
    fn start(&self, run: &RunKey) -> Result<Start, LedgerError> {
        let sums = self.sums(run)?;
        Ok(Start {
            counts: sums.counts(),
            racks: self.racks(run)?,
            remembered_rate: self.remembered_rate(run)?,
            shares_pace: self.shares_pace(run)?,
            pending: sums.pending,
        })
    }

    /// What there is to know of a run that ends now.
    fn finish(&self, run: &RunKey) -> Result<Finish, LedgerError> {
        Ok(Finish { sums: self.sums(run)?, course: self.course(run)?, baseline: self.baseline(run)? })
    }

    /// Tries to reach it anew where it could not be reached.
    fn reach(&mut self) -> Result<(), LedgerError>;

    /// An error where what is written would be seen by nobody, or another run may have begun.
    fn check(&self) -> Result<(), LedgerError>;

    /// Makes up for what processes that are gone did not come to: what they left claimed becomes pending, with an unanswered
    /// attempt, and what is known of the VMs is brought up to date.
    fn bury_lost(&self) -> Result<(), LedgerError>;

    /// The same for what this process holds, which it calls no more. What `then` writes is on disk together with the last of
    /// it, or after it.
    fn settle_up(&self, then: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError>;

    /// Works on no run any more, and deletes all runs but the newest `keep`, the pinned ones, those that wait for a resume,
    /// and a run that supersedes a pinned, unfinished one. Returns how many.
    ///
    /// A run is gone before its first VM is: killed half-way, it is deleted to the end by the next call. What it has written
    /// is told by `gone` first, and again if it comes to that.
    fn prune(&self, keep: u32, gone: &mut dyn FnMut(&[WrittenFile])) -> Result<usize, LedgerError>;

    /// Closes a ledger that was written without trouble. Dropped instead, it is left to the next run as it is.
    fn close(self: Box<Self>) -> Result<(), LedgerError>;
}

/// Where a run tells how it stands. What is read there holds as long as the run is under way.
pub trait Board: Debug {
    /// Takes the place of what was told before. It costs the run nothing if it cannot.
    fn post(&mut self, bulletin: &Bulletin);
}

/// How a run begins, goes on and ends.
pub trait Begin {
    /// Refuses to mix rehearsals and real runs in one ledger.
    fn check_kind(&self, base_url: &str) -> Result<(), LedgerError>;

    /// Begins to write a run, one at a time; of a kind that is not to be mixed with those that are there, none.
    fn draft(&self, new: &NewRun) -> Result<Box<dyn Draft + '_>, LedgerError>;

    /// Notes that a run goes on, with these options and those of its own that they say nothing of.
    fn resume(&self, run: &RunKey, job: &NewRun) -> Result<(), LedgerError>;

    /// Becomes a worker of a run that others carry out. Returns how long ago it began or last went on, by the ledger's clock;
    /// `None` where there is nothing to join, as it has ended.
    fn join(&self, run: &RunKey, terms: Terms) -> Result<Option<Duration>, LedgerError>;

    /// Lets all workers of a run stop, once each looks at it. Returns whether there are any.
    fn request_stop(&self, run: &RunKey, stop: Stop) -> Result<bool, LedgerError>;

    /// Whether we may end the run: we hold none of its VMs, and either no other worker is left, or none holds any and nothing
    /// is pending or all must stop. If we may, nobody claims what is pending any more, and `stop` is the reason.
    fn closing(&self, run: &RunKey, stop: Option<Stop>) -> Result<Closing, LedgerError>;

    /// Opens a run to be written, by the thread that has the book.
    fn open_book(self: Box<Self>, run: &RunKey) -> Result<Box<dyn Book>, LedgerError>;

    /// Notes all that a run has written in directories of its own.
    fn note_written(&self, run: &RunKey, files: &[WrittenFile]) -> Result<(), LedgerError>;

    /// Notes how a run ended, or that it stopped before its end, in what [`Engine::settle_up`] carries out. Returns the run as
    /// it is then; `None` where others have ended it meanwhile, or gone on with it.
    fn note_end(&self, run: &RunKey, ending: &Ending<'_>) -> Result<Option<RunInfo>, LedgerError>;
}

/// A run before its first call: every selected VM, all written or none. Dropped without [`Draft::commit`], it leaves nothing
/// behind.
pub trait Draft: Debug {
    /// Adds the next selected VM; `rack` is the inventory's, else the one last seen.
    fn add(&mut self, vm: &Vm, action: Action, rack: Option<&str>) -> Result<(), LedgerError>;

    /// Notes an invalid row that the run goes on without.
    fn skip(&mut self, file: &str, line: u64, field: &str, reason: &str) -> Result<(), LedgerError>;

    /// VMs added so far.
    fn selected(&self) -> u64;

    /// Makes the run real. Of the inventory that `reading` tells of, the selected VMs were added.
    fn commit(self: Box<Self>, reading: &Reading, warnings: &[String]) -> Result<Begun, LedgerError>;
}

/// A run that is being carried out.
pub trait Book: Send {
    /// Writes a batch, all of it or nothing; the replies hold once this has returned.
    ///
    /// After [`LedgerError::Away`] nobody knows whether it is on disk: [`Self::write_again`] finds out.
    fn write(&mut self, batch: &mut dyn Iterator<Item = Request>) -> Result<Vec<Reply>, LedgerError>;

    /// Writes the last batch once more, unless it is on disk: it is never there twice.
    fn write_again(&mut self) -> Result<Vec<Reply>, LedgerError> {
        Err(LedgerError::WriterGone)
    }

    /// Waits until something is asked, or until it wants a [`Request::Tick`] by itself; `None` once nobody asks any more.
    fn await_requests(&mut self, requests: &mut UnboundedReceiver<Vec<Request>>) -> Option<Vec<Request>> {
        requests.blocking_recv()
    }

    /// Gives the ledger back.
    fn shut(self: Box<Self>) -> Box<dyn Engine>;
}

/// The runs, each as a whole.
pub trait Runs {
    /// The run whose id starts with what was typed, or the newest one for `latest`.
    fn find_run(&self, typed: &str) -> Result<RunKey, LedgerError>;
    /// The newest run of that kind.
    fn newest(&self, kind: Kind) -> Result<Option<RunKey>, LedgerError>;
    /// What a run is, whatever has become of it.
    fn run_info(&self, run: &RunKey) -> Result<RunInfo, LedgerError>;
    /// Who carries a run out, or has done, in the order in which they came; nobody where a ledger is not shared.
    fn workers(&self, run: &RunKey) -> Result<Vec<Worker>, LedgerError>;
    /// How a run went, beside what came of its VMs.
    fn course(&self, run: &RunKey) -> Result<Course, LedgerError>;
    /// The newest runs, all of them without a `limit`; the newest first.
    fn overviews(&self, limit: Option<u32>) -> Result<Vec<Overview>, LedgerError>;
    /// What a run has written in directories of its own.
    fn written(&self, run: &RunKey) -> Result<Vec<WrittenFile>, LedgerError>;
    /// One of them.
    fn overview(&self, run: &RunKey) -> Result<Overview, LedgerError>;
    /// The runs of its job, itself too, the newest first.
    fn of_same_job(&self, run: &RunKey) -> Result<Vec<RunKey>, LedgerError>;
    /// Keeps a run from being pruned, or no longer.
    fn pin(&self, run: &RunKey, pinned: bool) -> Result<(), LedgerError>;

    /// The latest unfinished run that is not superseded.
    fn latest_unfinished(&self) -> Result<Option<RunKey>, LedgerError>;
    /// The newest run of the same job over this inventory, if it is unfinished.
    fn unfinished(
        &self,
        job: &NewRun,
        inventory: &[InventoryFile],
    ) -> Result<Option<Unfinished>, LedgerError>;
    /// The unfinished runs that a newer one of their job has superseded, the newest first.
    fn superseded(&self) -> Result<Vec<Unfinished>, LedgerError>;
    /// Whether a run has VMs without an outcome, or was not seen to end.
    fn is_unfinished(&self, run: &RunKey) -> Result<bool, LedgerError>;

    /// The last complete run before `run` of the same job, at the same base URL, with which it can be compared:
    /// one of the same selection, or of the whole inventory.
    fn baseline(&self, run: &RunKey) -> Result<Option<Baseline>, LedgerError>;
    /// When the job of `run` last succeeded, by `run` itself or an earlier one: complete, and by its exit code
    /// no VM failed and no row was skipped; of the same selection, or of the whole inventory.
    fn last_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError>;
    /// When the whole inventory of `run` last succeeded, where `run` is of a part of it, and the whole was ever run.
    fn whole_success(&self, run: &RunKey) -> Result<Option<Timestamp>, LedgerError>;
    /// The inventory of a job at its last complete run, whatever the action was, and whatever was piped in: of the same
    /// selection, or of the whole inventory.
    fn last_inventory(&self, job: &NewRun) -> Result<Option<LastInventory>, LedgerError>;
}

/// The VMs of a run.
pub trait Vms {
    /// The racks of a run, by number; `None` stands for VMs whose rack nobody knows.
    fn racks(&self, run: &RunKey) -> Result<Vec<Option<Arc<str>>>, LedgerError>;
    /// The racks of all runs, by name.
    fn rack_ids(&self) -> Result<Vec<String>, LedgerError>;
    /// Adds up a run's VMs, as they are now.
    fn sums(&self, run: &RunKey) -> Result<Sums, LedgerError>;
    /// A run's rows, in inventory order.
    fn rows(&self, run: &RunKey, each: Each<'_, Row>) -> Result<(), LedgerError>;
    /// The invalid inventory rows that a run went on without, in the order of the files.
    fn skipped(&self, run: &RunKey, each: Each<'_, Skipped>) -> Result<(), LedgerError>;
    /// The VMs of two runs: those of `to` in inventory order, then those of `from` alone.
    fn pairs(&self, from: &RunKey, to: &RunKey, each: Each<'_, Pair>) -> Result<(), LedgerError>;
    /// The id of every VM of a run, and the inventory's rack.
    fn each_vm(&self, run: &RunKey, each: &mut dyn FnMut(&str, Option<&str>)) -> Result<(), LedgerError>;
    /// The VMs of a run that were answered with a prefix, and that.
    fn each_prefix(&self, run: &RunKey, each: &mut dyn FnMut(&str, &str)) -> Result<(), LedgerError>;
    /// The VMs of a run that have no outcome.
    fn pending(&self, run: &RunKey) -> Result<Vec<PendingVms>, LedgerError>;
    /// What a VM came to in a run, where it was in it; one that was left without an outcome has failed.
    fn outcome_in(&self, run: &RunKey, vm: &VmId) -> Result<Option<Outcome>, LedgerError>;
    /// What inventories have called the VMs of all runs: each name, or `only` this one, with the id, once.
    fn names(&self, only: Option<&str>) -> Result<Vec<(String, VmId)>, LedgerError>;
    /// Every run's word on a VM, the newest first.
    fn entries(&self, vm: &VmId) -> Result<Vec<Entry>, LedgerError>;
}

/// What was last seen of the VMs.
pub trait Known {
    /// The rack in which a VM was last seen by an API: its base URL and dialect.
    fn last_rack(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<String>, LedgerError>;
    /// What was last seen of a VM, at each base URL.
    fn last_known(&self, vm: &VmId) -> Result<Vec<LastKnown>, LedgerError>;
    /// What was last seen of a VM by an API: its base URL and dialect.
    fn sighting(&self, base_url: &str, dialect: Dialect, vm: &VmId) -> Result<Option<Sighting>, LedgerError>;
    /// Every VM that was seen by an API: its base URL and dialect, in ascending order of the ids as text.
    fn each_sighting(
        &self,
        base_url: &str,
        dialect: Dialect,
        each: &mut dyn FnMut(&VmId, &Allocation, Timestamp),
    ) -> Result<(), LedgerError>;
}

/// The API's own rate limit, from one run to the next.
pub trait Rates {
    /// The limit that an earlier run with the same base URL and key found, in calls a second.
    fn remembered_rate(&self, run: &RunKey) -> Result<Option<f64>, LedgerError>;
    /// Whether a run's calls are to leave when [`super::Writer::pace`] grants it: runs at the same base URL with the same key,
    /// and all workers of them, share one rate. Not in a rehearsal, nor where a ledger has one process.
    fn shares_pace(&self, run: &RunKey) -> Result<bool, LedgerError>;
    /// Remembers it for the next run, or forgets it; where what is asked next is not answered, it may do neither.
    fn remember_rate(&self, run: &RunKey, per_second: Option<f64>) -> Result<(), LedgerError>;
}

/// All of it as plain rows.
pub trait Plain {
    /// How many rows [`Self::give_out`] has.
    fn count(&self, table: Table) -> Result<u64, LedgerError>;
    /// Every row of a table, in batches of a size that memory has room for. Between [`Engine::hold_still`] and
    /// [`Engine::let_go`], or in what [`Self::take_all`] carries out.
    fn give_out(&self, table: Table, each: EachBatch<'_>) -> Result<(), LedgerError>;
    /// Carries out what takes in a whole ledger: all of it is on disk together, or nothing.
    fn take_all(&self, take: &mut dyn FnMut() -> Result<(), LedgerError>) -> Result<(), LedgerError>;
    /// Rows as another ledger has given them out, in what [`Self::take_all`] carries out.
    fn take_in(&self, table: Table, records: Vec<Record>) -> Result<(), LedgerError>;
}

/// The run that `typed` stands for, of the first two that were found by it, one of exactly that id before others.
pub(super) fn the_one_meant(typed: &str, found: Vec<RunKey>) -> Result<RunKey, LedgerError> {
    let unknown = || LedgerError::UnknownRun(typed.to_owned());
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        _ if typed.is_empty() => Err(unknown()),
        (Some(run), None) => Ok(run),
        (Some(run), Some(_)) if run.id == typed => Ok(run),
        (Some(_), Some(_)) => Err(LedgerError::AmbiguousRun(typed.to_owned())),
        (None, _) => Err(unknown()),
    }
}
