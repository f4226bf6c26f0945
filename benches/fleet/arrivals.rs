//! When calls arrived at a server, and how evenly they came.

use std::time::Duration;

/// In order, in microseconds since whenever: what this process holds counts as held by each that it starts.
pub(crate) type Arrivals = Vec<u32>;

/// Calls a second, from the first to the last.
pub(crate) fn per_second(arrivals: &[u32]) -> f64 {
    let lasted = f64::from(arrivals[arrivals.len() - 1] - arrivals[0]) / 1e6;
    (arrivals.len() - 1) as f64 / lasted
}

/// The most in any time of this length, wherever it begins.
pub(crate) fn most_within(time: Duration, arrivals: &[u32]) -> usize {
    let mut first = 0;
    let within = arrivals.iter().enumerate().map(|(last, at)| {
        while u128::from(at - arrivals[first]) >= time.as_micros() {
            first += 1;
        }
        last + 1 - first
    });
    within.max().unwrap_or_default()
}
