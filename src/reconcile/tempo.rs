//! How many calls leave in a short while, as seen. Pure.

use std::time::{Duration, Instant};

/// Calls counted in spans of equal length.
#[derive(Debug)]
pub(super) struct Tempo {
    span: Duration,
    /// When the current span began.
    since: Instant,
    in_this: u32,
    in_the_last: u32,
    calls: u64,
}

impl Tempo {
    pub(super) fn new(now: Instant, span: Duration) -> Self {
        Self { span, since: now, in_this: 0, in_the_last: 0, calls: 0 }
    }

    pub(super) fn left(&mut self, now: Instant) {
        let spans = now.saturating_duration_since(self.since).as_nanos() / self.span.as_nanos();
        if spans > 0 {
            self.in_the_last = if spans == 1 { self.in_this } else { 0 };
            (self.in_this, self.since) = (0, now);
        }
        self.in_this += 1;
        self.calls += 1;
    }

    /// All calls that ever left.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Calls that left within one span, the last or this one.
    pub(super) fn of_late(&self) -> u32 {
        self.in_the_last.max(self.in_this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tempo_follows_the_calls_and_forgets_them() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut tempo = Tempo::new(begun, Duration::from_millis(50));
        (0..50).for_each(|millis| tempo.left(at(millis)));
        assert_eq!((tempo.of_late(), tempo.calls()), (50, 50));
        (50..60).for_each(|millis| tempo.left(at(millis)));
        assert_eq!(tempo.of_late(), 50, "a span that has just begun says nothing");
        (100..103).for_each(|millis| tempo.left(at(millis)));
        assert_eq!(tempo.of_late(), 10);
        tempo.left(at(1_000));
        assert_eq!((tempo.of_late(), tempo.calls()), (1, 64));
    }
}
