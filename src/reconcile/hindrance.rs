//! Since when it is the API, not our own pace, that keeps a run from settling a VM. Pure.

use std::time::{Duration, Instant};

use super::notice::Notice;

/// So long without a VM settled is told, with what the run waits for.
const TELLING_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Hindrance {
    /// Later by what our own pace took.
    since: Option<Instant>,
    /// Since when nothing but our own pace holds the next call.
    paced_since: Option<Instant>,
    /// What was seen to hinder it, once that was told.
    told: Option<String>,
}

impl Hindrance {
    /// The API is waited for from here on, if it was not before.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Nothing holds the next call but our own pace, or our own ledger, until the next look at the time.
    pub(super) fn paced(&mut self, is_paced: bool, now: Instant) {
        self.paced_since = is_paced.then_some(now);
    }

    /// A VM was settled; the run `waits` for others.
    pub(super) fn end(&mut self, waits: bool, now: Instant) {
        self.since = waits.then_some(now);
        self.told = None;
    }

    /// How long it has lasted. While the API has asked for a pause, it is waited for.
    pub(super) fn lasts(&mut self, is_paused: bool, now: Instant) -> Option<Duration> {
        if let (Some(paced), Some(since)) = (self.paced_since.take(), &mut self.since) {
            *since += now.saturating_duration_since(paced);
        }
        if is_paused {
            self.begin(now);
        }
        self.since.map(|since| now.saturating_duration_since(since))
    }

    pub(super) fn is_worth_telling(lasts: Duration, max_wait: Duration) -> bool {
        lasts >= TELLING_WAIT.min(max_wait / 2)
    }

    /// What is to be told of one that `lasts`, where `seen` is what hinders the run now.
    pub(super) fn notice(
        &mut self,
        lasts: Duration,
        max_wait: Duration,
        seen: Option<String>,
    ) -> Option<Notice> {
        let is_news = self.told.is_none();
        self.told = seen.or_else(|| self.told.take());
        let hindrance = self.told.clone();
        if lasts > max_wait {
            return Some(Notice::WaitedTooLong { hindrance });
        }
        hindrance.filter(|_| is_news).map(|hindrance| Notice::Waiting { hindrance, lasts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_our_own_pace_takes_is_no_hindrance() {
        let begun = Instant::now();
        let mut hindrance = Hindrance::default();
        assert_eq!(hindrance.lasts(false, begun), None);
        hindrance.begin(begun);
        hindrance.begin(begun + 3 * SECOND);
        assert_eq!(hindrance.lasts(false, begun + 5 * SECOND), Some(5 * SECOND));
        hindrance.paced(true, begun + 5 * SECOND);
        assert_eq!(hindrance.lasts(false, begun + 9 * SECOND), Some(5 * SECOND));
        assert_eq!(hindrance.lasts(false, begun + 10 * SECOND), Some(6 * SECOND), "paced once");
        hindrance.end(true, begun + 10 * SECOND);
        assert_eq!(hindrance.lasts(false, begun + 12 * SECOND), Some(2 * SECOND));
        hindrance.end(false, begun + 13 * SECOND);
        assert_eq!(hindrance.lasts(false, begun + 14 * SECOND), None);
        assert_eq!(
            hindrance.lasts(true, begun + 15 * SECOND),
            Some(Duration::ZERO),
            "the API's pause is one"
        );
    }

    #[test]
    fn a_long_one_is_told_once_and_too_long_a_one_ends_the_run() {
        let mut hindrance = Hindrance::default();
        let max_wait = 60 * SECOND;
        assert!(!Hindrance::is_worth_telling(9 * SECOND, max_wait));
        assert!(Hindrance::is_worth_telling(10 * SECOND, max_wait));
        assert!(Hindrance::is_worth_telling(2 * SECOND, 4 * SECOND));
        let mut notice = |seconds, seen: Option<&str>| {
            hindrance.notice(seconds * SECOND, max_wait, seen.map(str::to_owned))
        };
        assert_eq!(notice(10, None), None, "nobody knows why");
        let waiting = Notice::Waiting { hindrance: "the API fails".into(), lasts: 11 * SECOND };
        assert_eq!(notice(11, Some("the API fails")), Some(waiting));
        assert_eq!(notice(60, None), None);
        let too_long = Notice::WaitedTooLong { hindrance: Some("the API fails".into()) };
        assert_eq!(notice(61, None), Some(too_long));
    }
}
