//! Where a worker tells how it stands: in its own row, with the next batch that its writer sends.

use std::sync::{Arc, Mutex, PoisonError};

use super::question::Question;
use crate::ledger::engine::Board;
use crate::ledger::record::Bulletin;

/// What was posted last, until a batch takes it along.
#[derive(Debug, Clone, Default)]
pub(super) struct Posted(Arc<Mutex<Option<String>>>);

impl Posted {
    /// Puts it into the row of a worker.
    pub(super) fn take(&self, worker: i64) -> Option<Question> {
        let json = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let post = "UPDATE v6fleet.workers SET bulletin = $2 WHERE no = $1";
        Some(Question::new(post, vec![Box::new(worker), Box::new(json)]))
    }
}

impl Board for Posted {
    fn post(&mut self, bulletin: &Bulletin) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::to_string(bulletin).ok();
    }
}
