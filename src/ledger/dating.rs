//! By which clock the times of a process were told, so that a later one can tell them by its own.
//!
//! On the same boot that is exact, whatever was done to the time of day between the two. On another, the server's clock
//! as it was known then is what they have in common, if it was; else the time of day.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::protocol::CLAIM_LIFE;
use super::stored;
use crate::clock::Clock;
use crate::outcome::{FirstCall, Offset, Unanswered};

/// The clock of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dating {
    #[serde(flatten)]
    clock: Clock,
    /// The server's clock minus this one, where two answers agreed on it.
    #[serde(rename = "told", default, skip_serializing_if = "Option::is_none")]
    offset: Option<Offset>,
}

impl Dating {
    pub(super) fn ours(offset: Option<Offset>) -> Self {
        Self { clock: Clock::ours().clone(), offset }
    }

    /// Whether an offset that is known now says no more than this did.
    pub(super) fn still_says(&self, offset: Option<Offset>) -> bool {
        match (self.offset, offset) {
            (Some(then), Some(now)) => then.agrees_with(&now),
            (then, now) => then == now,
        }
    }

    /// A call of this process, on `clock`.
    pub(super) fn first_call(&self, at: Timestamp, clock: &Clock) -> FirstCall {
        match self.clock.until(clock) {
            Some(ahead) => FirstCall { at: moved(at, ahead), offset_then: None },
            None => FirstCall { at, offset_then: self.offset },
        }
    }

    /// What a claim of this process has left behind, by our clock: an attempt whose answer is lost. The newest claim that it
    /// made shows how long it lived; `timeout` is that of one call.
    pub(super) fn left_behind(
        &self,
        claimed: Timestamp,
        newest: Timestamp,
        timeout: SignedDuration,
    ) -> Unanswered {
        self.attempt(claimed, last_moment(claimed, newest, timeout), Clock::ours())
    }

    /// An attempt of this process, on `clock`.
    fn attempt(&self, from: Timestamp, until: Timestamp, clock: &Clock) -> Unanswered {
        on_clock(
            Unanswered { from, until, offset_then: self.offset },
            self.clock.until(clock).unwrap_or_default(),
        )
    }
}

/// A first call by our clock; without its `dating` by the time of day, as it was told.
pub(super) fn first_call(at: Timestamp, dating: Option<&Dating>) -> FirstCall {
    dating.map_or(FirstCall { at, offset_then: None }, |dating| dating.first_call(at, Clock::ours()))
}

/// When the call of a claim was over at the latest. One that is still there when `newest` was made, though its time was
/// up, belongs to a process that was held up: its call may have left as late as that.
fn last_moment(claimed: Timestamp, newest: Timestamp, timeout: SignedDuration) -> Timestamp {
    let lasts = timeout.saturating_add(CLAIM_LIFE);
    let held_up = newest.duration_since(claimed) > lasts;
    let left = if held_up { newest } else { claimed };
    left.saturating_add(lasts).unwrap_or(Timestamp::MAX)
}

/// A VM's attempts whose answer was lost, as they stand in the ledger.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Attempts {
    By {
        clock: Clock,
        attempts: Vec<Unanswered>,
    },
    /// Until schema 4.
    ByTimeOfDay(Vec<Unanswered>),
}

impl Attempts {
    fn ours(attempts: &[Unanswered]) -> Self {
        Self::By { clock: Clock::ours().clone(), attempts: attempts.to_vec() }
    }

    /// JSON, where there are any.
    pub(super) fn written(attempts: &[Unanswered]) -> Option<String> {
        (!attempts.is_empty()).then(|| stored::json(&Self::ours(attempts))).flatten()
    }

    pub(super) fn on_our_clock(self) -> Vec<Unanswered> {
        self.on(Clock::ours())
    }

    fn on(self, ours: &Clock) -> Vec<Unanswered> {
        match self {
            Self::By { clock, attempts } => {
                let ahead = clock.until(ours).unwrap_or_default();
                attempts.into_iter().map(|attempt| on_clock(attempt, ahead)).collect()
            }
            Self::ByTimeOfDay(attempts) => attempts,
        }
    }
}

fn on_clock(Unanswered { from, until, offset_then }: Unanswered, ahead: SignedDuration) -> Unanswered {
    let offset_then = offset_then.map(|offset| offset.on_a_clock(ahead));
    Unanswered { from: moved(from, ahead), until: moved(until, ahead), offset_then }
}

fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn clock(boot: &str, epoch: &str) -> Clock {
        serde_json::from_value(json!({ "boot": boot, "epoch": epoch })).unwrap()
    }

    fn hours(least: i64, most: i64) -> Offset {
        Offset { least: SignedDuration::from_hours(least), most: SignedDuration::from_hours(most) }
    }

    /// What one process left, when its clock was five hours behind.
    fn left_behind() -> Attempts {
        let attempt = Unanswered {
            from: at("2026-11-23T02:15:00Z"),
            until: at("2026-11-23T02:15:30Z"),
            offset_then: Some(hours(5, 5)),
        };
        Attempts::By { clock: clock("a", "2026-11-23T00:00:00Z"), attempts: vec![attempt] }
    }

    #[test]
    fn attempts_of_the_same_boot_are_told_by_our_clock_whatever_was_done_to_the_time_of_day() {
        let attempts = left_behind().on(&clock("a", "2026-11-23T05:00:00Z"));
        let put_right = Unanswered {
            from: at("2026-11-23T07:15:00Z"),
            until: at("2026-11-23T07:15:30Z"),
            offset_then: Some(hours(0, 0)),
        };
        assert_eq!(attempts, [put_right]);
    }

    #[test]
    fn attempts_of_another_boot_keep_what_was_known_of_the_servers_clock() {
        let attempts = left_behind().on(&clock("b", "2026-11-23T06:00:00Z"));
        assert_eq!(
            (attempts[0].from, attempts[0].offset_then),
            (at("2026-11-23T02:15:00Z"), Some(hours(5, 5)))
        );
    }

    #[test]
    fn attempts_of_older_ledgers_are_read_as_they_are() {
        let old = r#"[{"from":"2026-11-23T02:15:00Z","until":"2026-11-23T02:15:30Z"}]"#;
        let attempts = serde_json::from_str::<Attempts>(old).unwrap().on(Clock::ours());
        assert_eq!((attempts[0].from, attempts[0].offset_then), (at("2026-11-23T02:15:00Z"), None));
    }

    #[test]
    fn an_offset_of_then_is_named_on_disk_as_it_always_was() {
        let [attempt] = left_behind().on(&clock("b", "2026-11-23T06:00:00Z"))[..] else { panic!() };
        let dating = Dating { clock: clock("a", "2026-11-23T00:00:00Z"), offset: attempt.offset_then };
        for stored in [serde_json::to_value(attempt).unwrap(), serde_json::to_value(dating).unwrap()] {
            assert_eq!(stored["told"], serde_json::to_value(hours(5, 5)).unwrap(), "{stored}");
        }
    }

    #[test]
    fn a_first_call_is_told_by_our_clock_on_the_same_boot_and_else_by_the_servers() {
        let dating = Dating { clock: clock("a", "2026-11-23T00:00:00Z"), offset: Some(hours(5, 5)) };
        let dating: Dating = serde_json::from_str(&serde_json::to_string(&dating).unwrap()).unwrap();
        let sent = at("2026-11-23T02:15:00Z");
        let same = dating.first_call(sent, &clock("a", "2026-11-23T05:00:00Z"));
        assert_eq!(same, FirstCall { at: at("2026-11-23T07:15:00Z"), offset_then: None });
        let other = dating.first_call(sent, &clock("b", "2026-11-23T05:00:00Z"));
        assert_eq!(other, FirstCall { at: sent, offset_then: Some(hours(5, 5)) });
    }

    #[test]
    fn it_is_noted_anew_when_the_servers_clock_is_told_or_set() {
        let dating = |offset| Dating::ours(offset);
        assert!(dating(None).still_says(None) && dating(Some(hours(0, 5))).still_says(Some(hours(1, 2))));
        assert!(!dating(None).still_says(Some(hours(0, 5))));
        assert!(!dating(Some(hours(0, 5))).still_says(Some(hours(7, 8))));
    }

    #[test]
    fn a_claim_whose_time_was_up_while_its_process_lived_may_have_been_called_as_late_as_that() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (newest, until, why) in [
            (0, 32, "its own time"),
            (32, 32, "others were claimed meanwhile"),
            (33, 65, "the process was held up, and may have sent it then"),
            (7_200, 7_232, "for hours"),
        ] {
            let timeout = SignedDuration::from_secs(30);
            assert_eq!(last_moment(at(0), at(newest), timeout), at(until), "{why}");
        }
    }
}
