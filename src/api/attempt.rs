//! How one call ended.

use std::time::Duration;

use jiff::Timestamp;

use super::announced::Announced;
use crate::outcome::{Answer, Failure};

/// One call to the API and everything that came of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it left, on our clock.
    pub sent_at: Timestamp,
    pub latency: Duration,
    /// `None` where no status line came.
    pub status: Option<u16>,
    pub request_id: Option<String>,
    /// The server's clock while it answered: the body's `timestamp`, else `Date`.
    pub server_time: Option<Timestamp>,
    /// What the answer said of the API's rate limit.
    pub announced: Announced,
    pub result: Result<Answer, Fault>,
}

/// Why an attempt is no valid success: the facts that decide about a retry, and a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub failure: Failure,
    /// `None` where no status line came.
    pub status: Option<u16>,
    /// The API's own word for the error, such as `vps_not_ready`, in lower case.
    pub code: Option<String>,
    /// The body was JSON: the API itself answered, not the edge before it.
    pub json: bool,
    /// The call may have acted without our learning its answer.
    pub may_have_applied: bool,
    /// The wait that the answer asked for.
    pub retry_after: Option<Duration>,
    /// For people only, never for code.
    pub message: String,
}

impl Attempt {
    /// An attempt of which nothing has come back yet.
    pub(super) fn unanswered(sent_at: Timestamp) -> Self {
        Self {
            sent_at,
            latency: Duration::ZERO,
            status: None,
            request_id: None,
            server_time: None,
            announced: Announced::default(),
            result: Err(super::fault::malformed("no answer yet".into())),
        }
    }

    pub fn may_have_applied(&self) -> bool {
        self.result.as_ref().is_err_and(|fault| fault.may_have_applied)
    }
}
