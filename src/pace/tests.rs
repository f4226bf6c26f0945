//! The pace against a timer's grain and against APIs that hide a limit.

#![expect(clippy::cast_precision_loss, reason = "the tests count thousands of calls")]

use proptest::prelude::*;

use super::*;

fn ceiling(text: &str) -> Ceiling {
    text.parse().unwrap()
}

/// The moments, in seconds, at which `calls` calls leave where a timer wakes up late by up to `grain`.
fn releases(rate: &str, calls: usize, grain: Duration) -> Vec<f64> {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling(rate), start);
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

fn most_within(left: &[f64], seconds: f64) -> usize {
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
    for text in ["", "10", "0/s", "-1/s", "1.5/s", "10/d", "10/ s", "/s", "all"] {
        assert_eq!(text.parse::<Ceiling>(), Err(InvalidRate), "{text}");
    }
}

#[test]
fn a_pause_holds_everybody_and_ends_paced() {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling("100/s"), start);
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
    let mut pace = Pace::new(Ceiling::None, start);
    let tickets = [pace.next(start).unwrap(), pace.next(start).unwrap(), pace.next(start).unwrap()];
    let seconds = |s| Some(Duration::from_secs(s));
    assert_eq!(pace.throttled(tickets[0], seconds(5), start), start + Duration::from_secs(5));
    assert_eq!(pace.throttled(tickets[1], seconds(9), start), start + Duration::from_secs(9));
    assert_eq!(pace.throttled(tickets[2], seconds(1), start), start + Duration::from_secs(9));
}

#[test]
fn a_429_that_names_no_wait_pauses_longer_each_time_until_something_succeeds() {
    let start = Instant::now();
    let mut pace = Pace::new(ceiling("10/s"), start);
    let mut now = start;
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let ticket = loop {
            match pace.next(now) {
                Ok(ticket) => break ticket,
                Err(at) => now = at,
            }
        };
        pauses.push((pace.throttled(ticket, None, now) - now).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    pace.accepted();
    let zero = Some(Duration::ZERO);
    now += Duration::from_mins(1);
    let ticket = pace.next(now).unwrap();
    assert_eq!(pace.throttled(ticket, zero, now), now + UNSTATED_PAUSE);
}

/// An API that hides a limit, told the time.
trait Hidden {
    /// Accepts a call, or says how many seconds to wait.
    fn call(&mut self, at: f64) -> Result<(), f64>;
}

struct Bucket {
    rate: f64,
    capacity: f64,
    tokens: f64,
    last: f64,
}

impl Bucket {
    fn new(rate: f64, capacity: f64) -> Self {
        Self { rate, capacity, tokens: capacity, last: 0.0 }
    }
}

impl Hidden for Bucket {
    fn call(&mut self, at: f64) -> Result<(), f64> {
        self.tokens = (self.tokens + (at - self.last) * self.rate).min(self.capacity);
        self.last = at;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - self.tokens) / self.rate).ceil().max(1.0))
    }
}

/// At most `calls` in every so many `seconds`: from one boundary to the next, or in any such span.
struct Window {
    calls: usize,
    seconds: f64,
    sliding: bool,
    accepted: Vec<f64>,
}

impl Hidden for Window {
    fn call(&mut self, at: f64) -> Result<(), f64> {
        let begin = if self.sliding { at - self.seconds } else { (at / self.seconds).floor() * self.seconds };
        let recent: Vec<f64> = self.accepted.iter().rev().copied().take_while(|&t| t >= begin).collect();
        if recent.len() < self.calls {
            self.accepted.push(at);
            return Ok(());
        }
        let free = if self.sliding { recent[self.calls - 1] + self.seconds } else { begin + self.seconds };
        Err((free - at).ceil().max(1.0))
    }
}

/// Seconds that `calls` accepted calls take, and the share of calls that were refused.
fn raced(api: &mut dyn FnMut(f64) -> Result<(), f64>, rate: &str, calls: u32) -> (f64, f64) {
    const LATENCY: Duration = Duration::from_millis(40);
    let start = Instant::now();
    let mut pace = Pace::new(ceiling(rate), start);
    let mut in_flight = std::collections::VecDeque::new();
    let (mut now, mut accepted, mut refused, mut left) = (start, 0, 0, 0_u32);
    while accepted < calls {
        while let Some(&(back, ticket, answer)) = in_flight.front()
            && back <= now
        {
            in_flight.pop_front();
            match answer {
                Ok(()) => {
                    accepted += 1;
                    pace.accepted();
                }
                Err(wait) => {
                    (refused, left) = (refused + 1, left - 1);
                    pace.throttled(ticket, Some(Duration::from_secs_f64(wait)), now);
                }
            }
        }
        let due = in_flight.front().map(|&(back, _, _)| back);
        let mut wake = due.unwrap_or(now + LATENCY);
        while in_flight.len() < 64 && left < calls {
            match pace.next(now) {
                Ok(ticket) => {
                    left += 1;
                    in_flight.push_back((now + LATENCY, ticket, api((now - start).as_secs_f64())));
                    wake = wake.min(now + LATENCY);
                }
                Err(at) => {
                    wake = due.map_or(at, |due| due.min(at));
                    break;
                }
            }
        }
        now = wake.max(now + Duration::from_micros(100));
    }
    ((now - start).as_secs_f64(), f64::from(refused) / f64::from(accepted + refused))
}

#[test]
fn a_hidden_limit_is_found_and_used_at_the_price_of_few_calls() {
    type Case<'a> = (&'a str, &'a mut dyn Hidden, &'a str, u32, f64, f64, f64);

    let window = |calls, seconds, sliding| Window { calls, seconds, sliding, accepted: vec![] };
    let mut bucket = Bucket::new(50.0, 50.0);
    let mut small = Bucket::new(50.0, 5.0);
    let mut fixed = window(100, 1.0, false);
    let mut sliding = window(100, 10.0, true);
    let cases: [Case<'_>; 4] = [
        ("bucket of a second", &mut bucket, "250/s", 5000, 4950.0 / 50.0, 1.08, 0.01),
        ("bucket of a tenth", &mut small, "250/s", 5000, 4995.0 / 50.0, 1.35, 0.01),
        ("fixed window", &mut fixed, "500/s", 5000, 49.0, 1.3, 0.025),
        ("sliding window", &mut sliding, "50/s", 1000, 90.0, 1.2, 0.025),
    ];
    for (name, api, rate, calls, ideal, slowest, most_refused) in cases {
        let (seconds, refused) = raced(&mut |at| api.call(at), rate, calls);
        let ratio = seconds / ideal;
        assert!(
            ratio <= slowest && refused <= most_refused,
            "{name}: {ratio:.3} of the ideal, {refused:.4} refused"
        );
    }
}

#[test]
fn a_limit_that_falls_or_rises_is_followed() {
    for (name, then, calls, ideal, slowest, most_refused) in [
        ("halved", 25.0, 5000, 2450.0 / 50.0 + 2500.0 / 25.0, 1.12, 0.015),
        ("doubled", 100.0, 5000, 2450.0 / 50.0 + 2500.0 / 100.0, 1.25, 0.01),
    ] {
        let mut api = Bucket::new(50.0, 50.0);
        let mut served = 0;
        let mut call = |at| {
            if served == 2500 {
                api.rate = then;
            }
            api.call(at).inspect(|()| served += 1)
        };
        let (seconds, refused) = raced(&mut call, "250/s", calls);
        let ratio = seconds / ideal;
        assert!(
            ratio <= slowest && refused <= most_refused,
            "{name}: {ratio:.3} of the ideal, {refused:.4} refused"
        );
    }
}

proptest! {
    #[test]
    fn no_call_leaves_in_a_pause_and_none_is_over_the_ceiling(
        per_second in 1_u32..3000,
        steps in prop::collection::vec((0_u64..40, prop::option::of(0_u64..300)), 1..400),
    ) {
        let start = Instant::now();
        let calls = NonZeroU32::new(per_second).unwrap();
        let mut pace = Pace::new(Ceiling::Calls { calls, per: Unit::Second }, start);
        let (mut now, mut paused, mut left) = (start, start, Vec::new());
        for (step, wait) in steps {
            now += Duration::from_millis(step);
            while let Ok(ticket) = pace.next(now) {
                prop_assert!(now >= paused);
                left.push((now - start).as_secs_f64());
                if let Some(wait) = wait {
                    paused = pace.throttled(ticket, Some(Duration::from_millis(wait)), now);
                }
            }
        }
        let rate = f64::from(per_second);
        prop_assert!(most_within(&left, 1.0) as f64 <= rate + (rate / 100.0).max(2.0));
    }
}
