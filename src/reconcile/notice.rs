//! What a run tells of itself in the log.

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::stop::Stop;
use crate::text::duration;

/// Something that people are to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The first signal came: calls in flight are waited for.
    Draining(Duration),
    /// The lease ran out before it was renewed.
    Lapsed,
    /// The run ends for all who work on it.
    StoppedForAll(Stop),
    /// So many calls are still in flight, and are waited for no longer.
    LeftBehind(usize),
    /// By its name.
    RackLeftAlone(String),
    ApiLeftAlone,
    /// It cannot be reached from here, whatever others find.
    CutOff,
    /// What we have brought ourselves is refused, and others may have better.
    LeftToOthers(Stop),
    /// So many calls at once from now on.
    FewerSlots(usize),
    Paused(Duration),
    PauseTooLong(Duration),
    /// The ledger cannot be reached, and is waited for up to `max_wait`.
    LedgerAway {
        words: String,
        max_wait: Duration,
    },
    /// It can be reached again, after so long.
    LedgerBack(Duration),
    /// No VM could be settled for so long.
    Waiting {
        hindrance: String,
        lasts: Duration,
    },
    WaitedTooLong {
        hindrance: Option<String>,
    },
}

impl Notice {
    pub(super) fn log(self) {
        match self {
            Self::Draining(longest) => info!(
                said.seconds = longest.as_secs(),
                "no new calls; waiting up to {} s for those in flight, stop again to leave at once",
                longest.as_secs()
            ),
            Self::Lapsed => {
                warn!(
                    "the lease ran out: what was claimed is other workers' now, and what came of it meanwhile is theirs to find"
                );
            }
            Self::StoppedForAll(stop) => info!(stop = stop.as_str(), "the run ends for all who work on it"),
            Self::LeftBehind(calls) => {
                warn!(calls, "stopped without waiting any longer for calls in flight");
            }
            Self::RackLeftAlone(rack) => {
                warn!(rack, "most first calls to this rack fail: leaving it alone, but for single probes");
            }
            Self::ApiLeftAlone => warn!("most calls fail: leaving the API alone, but for single probes"),
            Self::CutOff => {
                warn!(
                    "the API cannot be reached from here: leaving it to other workers, but for single probes"
                );
            }
            Self::LeftToOthers(stop) => warn!(
                stop = stop.as_str(),
                "the API refuses this worker's key, or shows it a certificate that it does not trust: leaving the run to others"
            ),
            Self::FewerSlots(slots) => warn!(
                slots,
                "no file descriptor was left for one more call (ulimit -n): keeping to fewer at once"
            ),
            Self::Paused(pause) => {
                debug!(seconds = pause.as_secs_f64(), "the API asks everybody to wait");
            }
            Self::PauseTooLong(pause) => {
                warn!(seconds = pause.as_secs(), "the API asks for a longer wait than --max-wait allows");
            }
            Self::LedgerAway { words, max_wait } => warn!(
                "{words}; no call leaves until it is back, what is answered meanwhile is kept; after --max-wait ({}) the run \
                 is broken off",
                duration(max_wait.as_secs_f64())
            ),
            Self::LedgerBack(after) => {
                warn!(
                    seconds = after.as_secs_f64(),
                    "the ledger can be reached again: all is written, the run goes on"
                );
            }
            Self::Waiting { hindrance, lasts } => {
                let seconds = lasts.as_secs();
                warn!(
                    hindrance,
                    said.seconds = seconds,
                    "waiting: no VM could be settled for {seconds} s; after --max-wait the run stops"
                );
            }
            Self::WaitedTooLong { hindrance } => {
                warn!(hindrance, "no VM could be settled for longer than --max-wait");
            }
        }
    }
}
