//! Plain data: what a ledger is told and what it tells, whichever engine keeps it.

mod bulletin;
mod counts;
mod finish;
mod item;
mod row;
mod run;
mod start;
mod summary;
mod vm;
mod worker;

pub use bulletin::{Bulletin, OpenBreakers, Pacing};
pub use counts::Counts;
pub use finish::{Baseline, Finish};
pub use item::{Deferred, Item, LastCall, RackNo, Setback, Settled, Settlement, Tally};
pub use row::Row;
pub(crate) use row::as_object;
pub use run::{
    Course, Ending, LastInventory, NewRun, Overview, PendingVms, RunInfo, RunKey, Skipped, Unfinished,
    WrittenFile, is_complete, is_resumable,
};
pub use start::{Begun, Start};
pub use summary::{ChangeCount, FailureCount, Forecasts, Named, RackCounts, ReasonCount, Since, Summary};
pub use vm::{Entry, LastKnown, Pair, Sighting};
pub use worker::{Closing, Contribution, Presence, Terms, Worker};
