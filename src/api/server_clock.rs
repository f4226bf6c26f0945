//! The server's clock, told from its answers.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Attempt;

/// How long an observation outranks later, less certain ones.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// The server's clock minus ours, from the answer that tells it most exactly.
///
/// A server reads its clock somewhere between our sending and our receiving; half the latency is the uncertainty.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerClock(Option<Observation>);

#[derive(Debug, Clone, Copy)]
struct Observation {
    offset: SignedDuration,
    uncertainty: Duration,
    at: Timestamp,
}

impl ServerClock {
    /// `None` until an answer has given a time.
    pub fn offset(&self) -> Option<SignedDuration> {
        self.0.map(|observation| observation.offset)
    }

    pub fn observe(&mut self, attempt: &Attempt) {
        let Some(server_time) = attempt.server_time else { return };
        let uncertainty = attempt.latency / 2;
        let middle = attempt.sent_at.saturating_add(uncertainty).unwrap_or(attempt.sent_at);
        let new =
            Observation { offset: server_time.duration_since(middle), uncertainty, at: attempt.sent_at };
        let keep = self
            .0
            .is_some_and(|old| old.uncertainty < new.uncertainty && new.at.duration_since(old.at) < FRESH);
        if !keep {
            self.0 = Some(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(sent: &str, latency_ms: u64, server: Option<&str>) -> Attempt {
        let mut attempt = Attempt::unanswered(sent.parse().unwrap());
        attempt.latency = Duration::from_millis(latency_ms);
        attempt.server_time = server.map(|time| time.parse().unwrap());
        attempt
    }

    #[test]
    fn the_quickest_answer_tells_the_clock_until_it_is_old() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.offset(), None);
        clock.observe(&attempt("2026-11-23T02:00:00Z", 10, None));
        assert_eq!(clock.offset(), None);
        clock.observe(&attempt("2026-11-23T02:00:00Z", 2000, Some("2026-11-23T02:00:06Z")));
        assert_eq!(clock.offset(), Some(SignedDuration::from_secs(5)));
        clock.observe(&attempt("2026-11-23T02:01:00Z", 0, Some("2026-11-23T02:01:05.5Z")));
        assert_eq!(clock.offset(), Some(SignedDuration::from_millis(5500)));
        clock.observe(&attempt("2026-11-23T02:02:00Z", 8000, Some("2026-11-23T02:03:00Z")));
        assert_eq!(clock.offset(), Some(SignedDuration::from_millis(5500)));
        clock.observe(&attempt("2026-11-23T02:12:00Z", 2000, Some("2026-11-23T02:12:02Z")));
        assert_eq!(clock.offset(), Some(SignedDuration::from_secs(1)));
    }
}
