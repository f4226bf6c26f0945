//! The pace against a timer's grain, pauses, and budgets that the API announces.

#![expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::pause::UNSTATED_PAUSE;
use super::*;

pub(super) fn ceiling(text: &str) -> Ceiling {
    text.parse().unwrap()
}

/// The moments, in seconds, at which `calls` calls leave where a timer wakes up late by up to `grain`.
fn releases(rate: &str, calls: usize, grain: Duration) -> Vec<f64> {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling(rate), None, start);
    let (mut now, mut left) = (start, Vec::new());
    while left.len() < calls {
        match pace.next(now) {
            Ok(_) => left.push((now - start).as_secs_f64()),
            Err(at) => {
                assert!(at > now, "asked to ask again at once");
                now = at + grain.mul_f64(fastrand::f64());
            }
        }
    }
    left
}

pub(super) fn most_within(left: &[f64], seconds: f64) -> usize {
    let mut first = 0;
    let counts = left.iter().enumerate().map(|(i, &at)| {
        while at - left[first] >= seconds {
            first += 1;
        }
        i + 1 - first
    });
    counts.max().unwrap_or_default()
}

#[test]
fn the_ceiling_is_met_on_average_and_never_much_exceeded() {
    for (rate, per_second) in [("10/s", 10.0), ("200/s", 200.0), ("1000/s", 1000.0), ("5000/s", 5000.0)] {
        let calls = if per_second < 100.0 { 1000 } else { 10_000 };
        for grain in [0, 1, 4].map(Duration::from_millis) {
            let left = releases(rate, calls, grain);
            let mean = (calls - 1) as f64 / (left[calls - 1] - left[0]);
            let ratio = mean / per_second;
            assert!((0.99..=1.005).contains(&ratio), "{rate} with {grain:?}: mean {ratio}");
            let second = most_within(&left, 1.0) as f64;
            if per_second >= 200.0 {
                assert!(second <= per_second * 1.02, "{rate} with {grain:?}: {second} in a second");
                let tenth = most_within(&left, 0.1) as f64;
                assert!(tenth <= per_second * 0.115, "{rate} with {grain:?}: {tenth} in 100 ms");
            } else {
                assert!(second <= per_second + 2.0, "{rate} with {grain:?}: {second} in a second");
            }
        }
    }
}

#[test]
fn without_a_ceiling_nothing_waits() {
    assert_eq!(releases("none", 1000, Duration::ZERO), vec![0.0; 1000]);
}

#[test]
fn rates_are_whole_numbers_a_second_a_minute_or_an_hour() {
    for (text, per_second) in [("10/s", 10.0), ("90/m", 1.5), ("1/h", 1.0 / 3600.0)] {
        let rate = ceiling(text);
        assert!((rate.per_second().unwrap() - per_second).abs() < 1e-6, "{text}");
        assert_eq!(rate.to_string(), text);
    }
    assert_eq!(ceiling("none").per_second(), None);
    for text in [
        "", "10", "0/s", "-1/s", "+1/s", "1.5/s", "0.5/m", "1e3/s", "10/d", "10/ s", "/s", "all", "NaN/s",
        "inf/s",
    ] {
        assert_eq!(text.parse::<Ceiling>(), Err(InvalidRate::Form), "{text}");
    }
}

#[test]
fn a_rate_that_cannot_be_kept_is_refused_and_the_fastest_that_is_taken_is_a_ceiling() {
    for text in
        ["1000001/s", "2000000000/s", "4294967296/s", "60000001/m", "3600000001/h", "9".repeat(400).as_str()]
            .map(|text| if text.contains('/') { text.to_owned() } else { format!("{text}/h") })
    {
        assert_eq!(text.parse::<Ceiling>(), Err(InvalidRate::TooFast), "{text}");
    }
    for (text, per_second) in
        [("1000000/s", 1e6), ("999983/s", 999_983.0), ("60000000/m", 1e6), ("3600000000/h", 1e6)]
    {
        let kept = ceiling(text).per_second().unwrap();
        assert!((0.999..=1.001).contains(&(kept / per_second)), "{text}: {kept}");
    }
    let left = releases("1000000/s", 10_000, Duration::ZERO);
    assert!(left[9_999] >= 0.0098, "10,000 calls in {} s", left[9_999]);
}

#[test]
fn a_pause_holds_everybody_and_ends_paced() {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling("100/s"), None, start);
    let ticket = pace.next(start).unwrap();
    let until = pace.throttled(ticket, Some(Duration::from_secs(7)), start);
    assert_eq!(until, start + Duration::from_secs(7));
    assert_eq!(pace.next(start + Duration::from_secs(6)), Err(until));
    let at_once = (0..100).filter(|_| pace.next(until).is_ok()).count();
    assert!(at_once <= 2, "{at_once} calls left at the end of the pause");
}

#[test]
fn a_later_429_prolongs_the_pause_and_an_earlier_one_does_not_shorten_it() {
    let start = Instant::now();
    let mut pace = Pace::new(Ceiling::None, None, start);
    let tickets = [pace.next(start).unwrap(), pace.next(start).unwrap(), pace.next(start).unwrap()];
    let seconds = |s| Some(Duration::from_secs(s));
    assert_eq!(pace.throttled(tickets[0], seconds(5), start), start + Duration::from_secs(5));
    assert_eq!(pace.throttled(tickets[1], seconds(9), start), start + Duration::from_secs(9));
    assert_eq!(pace.throttled(tickets[2], seconds(1), start), start + Duration::from_secs(9));
}

#[test]
fn a_429_that_names_no_wait_pauses_longer_each_time_until_something_succeeds() {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling("10/s"), None, start);
    let mut now = start;
    let mut pauses = Vec::new();
    let mut last = None;
    for _ in 0..7 {
        let ticket = loop {
            match pace.next(now) {
                Ok(ticket) => break ticket,
                Err(at) => now = at,
            }
        };
        pauses.push((pace.throttled(ticket, None, now) - now).as_secs());
        last = Some(ticket);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    pace.accepted(last.unwrap(), Announced::default(), now);
    let zero = Some(Duration::ZERO);
    now += Duration::from_mins(1);
    let ticket = pace.next(now).unwrap();
    assert_eq!(pace.throttled(ticket, zero, now), now + UNSTATED_PAUSE);
}

/// So many calls leave at once, and when the next one may.
fn leave(pace: &mut Pace, now: Instant) -> (Vec<Ticket>, Instant) {
    let mut left = Vec::new();
    loop {
        match pace.next(now) {
            Ok(ticket) => left.push(ticket),
            Err(at) => return (left, at),
        }
    }
}

#[test]
fn what_the_api_says_may_still_leave_is_counted_from_the_call_that_it_answers() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let announced = |remaining, reset_ms| Announced {
        remaining: Some(remaining),
        reset_in: Some(Duration::from_millis(reset_ms)),
        per_second: None,
    };
    let mut pace = Pace::new(Ceiling::None, None, start);
    let tickets: Vec<Ticket> = (0..10).map(|_| pace.next(start).unwrap()).collect();
    pace.accepted(tickets[3], announced(8, 500), ms(100));
    pace.accepted(tickets[1], announced(0, 900), ms(100));
    let (left, next) = leave(&mut pace, ms(100));
    assert_eq!((left.len(), next), (2, ms(600)), "12 may leave until 600 ms, and 10 had left");
    assert_eq!(pace.next(ms(599)), Err(ms(600)));
    assert!(pace.next(ms(700)).is_ok());
}

/// The ticket of the next call to leave, and the moment.
fn leave_next(pace: &mut Pace, mut now: Instant) -> (Ticket, Instant) {
    loop {
        match pace.next(now) {
            Ok(ticket) => return (ticket, now),
            Err(at) => now = at,
        }
    }
}

#[test]
fn after_a_pause_with_nothing_accepted_before_it_one_call_leaves_at_its_end_and_the_rest_with_its_answer() {
    let start = Instant::now();
    for rate in ["10/s", "2/m", "none"] {
        let mut pace = Pace::new(ceiling(rate), None, start);
        let refused = pace.next(start).unwrap();
        let until = pace.throttled(refused, Some(Duration::from_secs(40)), start);
        let (probe, at) = leave_next(&mut pace, start);
        assert_eq!(at, until, "{rate}");
        assert!(pace.next(at).is_err(), "{rate}: one call tries it");
        let answered = at + Duration::from_millis(100);
        pace.accepted(probe, Announced::default(), answered);
        let interval = ceiling(rate).interval().unwrap_or_default();
        let (_, next) = leave_next(&mut pace, answered);
        assert!(next <= answered.max(at + interval), "{rate}: the next leaves {:?} after", next - at);
    }
}

#[test]
fn calls_that_come_to_nothing_measure_no_rate() {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling("10/s"), None, start);
    let mut now = start;
    for _ in 0..6 {
        let tickets: Vec<Ticket> = (0..20)
            .map(|_| {
                let (ticket, at) = leave_next(&mut pace, now);
                now = at;
                ticket
            })
            .collect();
        let (refused, failed) = tickets.split_at(5);
        for ticket in failed {
            pace.failed(*ticket, Announced::default(), now);
        }
        for ticket in refused {
            pace.throttled(*ticket, Some(Duration::from_secs(9)), now);
        }
        now += Duration::from_secs(30);
    }
    assert_eq!((pace.per_second(), pace.to_remember()), (Some(10.0), None));
}

#[test]
fn a_rate_that_the_api_announces_is_kept_and_goes_before_what_was_remembered() {
    let start = Instant::now();
    let said = Announced { per_second: Some(50.0), ..Announced::default() };
    for (rate, remembered, expected) in
        [("none", None, 49.75), ("500/s", Some(20.0), 49.75), ("10/s", Some(20.0), 10.0)]
    {
        let mut pace = Pace::new(ceiling(rate), remembered, start);
        let ticket = pace.next(start).unwrap();
        pace.accepted(ticket, said, start);
        assert_eq!(pace.per_second(), Some(expected), "{rate}");
    }
}

#[test]
fn waits_beyond_all_reason_are_waited_for_without_a_panic() {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling("10/s"), Some(f64::MIN_POSITIVE), start);
    let ticket = pace.next(start).unwrap();
    let century = Duration::from_hours(100 * 365 * 24);
    let until = pace.throttled(ticket, Some(century), start);
    assert_eq!(pace.next(start + Duration::from_hours(1)), Err(until));
}

/// What comes back of a call.
#[derive(Debug, Clone)]
enum Back {
    Nothing,
    Throttled { wait_ms: u64 },
    Accepted(Announced),
}

fn back() -> impl Strategy<Value = Back> {
    let announced = (prop::option::of(0_u64..50), 0_u64..2_000, prop::option::of(0.01..5_000.0)).prop_map(
        |(remaining, reset_ms, per_second)| {
            let reset_in = remaining.map(|_| Duration::from_millis(reset_ms));
            Back::Accepted(Announced { remaining, reset_in, per_second })
        },
    );
    prop_oneof![
        4 => Just(Back::Nothing),
        1 => (0_u64..300).prop_map(|wait_ms| Back::Throttled { wait_ms }),
        2 => announced,
    ]
}

/// Milliseconds; now and then the machine stands still for longer.
fn step() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0_u64..40, 1 => 40_u64..60_000]
}

proptest! {
    #[test]
    fn no_call_leaves_in_a_pause_and_none_is_over_the_ceiling(
        per_second in 1_u32..3000,
        remembered in prop::option::of(0.01..5_000.0),
        steps in prop::collection::vec((step(), back()), 1..400),
    ) {
        let start = Instant::now();
        let calls = NonZeroU32::new(per_second).unwrap();
        let mut pace = Pace::new(Ceiling::Calls { calls, per: Unit::Second }, remembered, start);
        let (mut now, mut paused, mut left) = (start, start, Vec::new());
        for (step, back) in steps {
            now += Duration::from_millis(step);
            while let Ok(ticket) = pace.next(now) {
                prop_assert!(now >= paused);
                left.push((now - start).as_secs_f64());
                match &back {
                    Back::Nothing => {}
                    Back::Throttled { wait_ms } => {
                        paused = pace.throttled(ticket, Some(Duration::from_millis(*wait_ms)), now);
                    }
                    Back::Accepted(announced) => pace.accepted(ticket, *announced, now),
                }
            }
        }
        let rate = f64::from(per_second);
        prop_assert!(most_within(&left, 1.0) as f64 <= rate + (rate / 100.0).max(2.0));
    }
}

#[test]
fn a_pace_tells_whose_limit_holds_it() {
    let now = Instant::now();
    let whose = |pace: &Pace| pace.held_to().map(|(_, whose)| whose.as_str());
    assert_eq!(whose(&Pace::new(ceiling("none"), None, now)), None);
    assert_eq!(whose(&Pace::new(ceiling("10/s"), None, now)), Some("typed"));
    assert_eq!(whose(&Pace::new(ceiling("1000/s"), Some(20.0), now)), Some("remembered"));
    let mut pace = Pace::new(ceiling("10/s"), None, now);
    let ticket = pace.next(now).unwrap();
    pace.accepted(ticket, Announced { per_second: Some(3.0), ..Announced::default() }, now);
    assert_eq!(whose(&pace), Some("announced"));
    assert!(pace.held_to().is_some_and(|(rate, _)| pace.per_second() == Some(rate)));
    pace.accepted(ticket, Announced { per_second: Some(30.0), ..Announced::default() }, now);
    assert_eq!(whose(&pace), Some("typed"), "the lower one holds");
}
