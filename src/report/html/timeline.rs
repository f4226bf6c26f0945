//! Calls, their latency and the 429s over time, in a number of steps that is small however long a run took.
//!
//! The ledger dates the first call for a VM and its outcome. Calls between them are taken to lie evenly,
//! those answered 429 before the others.
#![expect(clippy::cast_precision_loss, reason = "steps and buckets are few")]

use jiff::Timestamp;

use crate::ledger::Row;
use crate::text::{counted, duration};

/// More steps than this become half as many, each twice as long.
const STEPS: usize = 120;

/// Up to 0.1 ms · 2^20, which is more than a minute, by a quarter of an octave: quantiles are right to 19 %.
const LATENCIES: usize = 80;
const SHORTEST_MS: f64 = 0.1;
const PER_OCTAVE: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Timeline {
    from: Timestamp,
    step_s: f64,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    calls: u32,
    throttled: u32,
    latencies: [u32; LATENCIES],
}

/// One picture over the time of the run.
#[derive(Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What the picture shows, for those who do not see it.
    pub(super) caption: String,
    pub(super) bars: Vec<Bar>,
}

/// One step of a picture 100 high.
#[derive(Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) step: usize,
    pub(super) height: f64,
    pub(super) title: String,
}

impl Timeline {
    pub(super) fn new(from: Timestamp) -> Self {
        Self { from, step_s: 1.0, steps: Vec::new() }
    }

    /// Adds the calls for one VM.
    pub(super) fn add(&mut self, row: &Row) {
        let Some(first) = row.first_sent_at else { return };
        let first = first.duration_since(self.from).as_secs_f64().max(0.0);
        let last = self.last_sent(row).max(first);
        let calls = row.attempts + row.throttled;
        for n in 0..calls {
            let share = if n == 0 { 0.0 } else { f64::from(n) / f64::from(calls - 1) };
            let step = self.step(first + (last - first) * share);
            step.calls += 1;
            step.throttled += u32::from(n < row.throttled);
        }
        if let Some(latency) = row.latency_ms {
            self.step(last).latencies[bucket(latency)] += 1;
        }
    }

    fn last_sent(&self, row: &Row) -> f64 {
        let settled = row.settled_at.map_or(0.0, |at| at.duration_since(self.from).as_secs_f64());
        settled - row.latency_ms.unwrap_or_default() / 1_000.0
    }

    fn step(&mut self, at_s: f64) -> &mut Step {
        while at_s >= self.step_s * STEPS as f64 {
            self.steps = self.steps.chunks(2).map(Step::sum).collect();
            self.step_s *= 2.0;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to STEPS")]
        let step = (at_s / self.step_s) as usize;
        if self.steps.len() <= step {
            self.steps.resize(step + 1, Step::EMPTY);
        }
        &mut self.steps[step]
    }

    /// How many steps each picture is wide, and 0 where no call was made.
    pub(super) fn width(&self) -> usize {
        self.steps.len()
    }

    /// How long the pictures' time is.
    pub(super) fn length(&self) -> String {
        duration(self.step_s * self.steps.len() as f64)
    }

    pub(super) fn charts(&self) -> [Chart; 3] {
        [self.calls(), self.latency(), self.throttled()]
    }

    fn calls(&self) -> Chart {
        let rate = |step: &Step| f64::from(step.calls) / self.step_s;
        let peak = self.peak(rate);
        let bars = self.bars("calls", peak, rate, |rate| format!("{rate:.1} calls/s"));
        let caption = format!("at most {peak:.1}/s, by steps of {}", duration(self.step_s));
        Chart { title: "Calls per second", caption, bars }
    }

    fn latency(&self) -> Chart {
        let (median, slow) = (|step: &Step| step.quantile(0.5), |step: &Step| step.quantile(0.95));
        let peak = self.peak(slow);
        let mut bars = self.bars("slow", peak, slow, |ms| format!("95 % within {ms:.1} ms"));
        bars.extend(self.bars("median", peak, median, |ms| format!("half within {ms:.1} ms")));
        let caption =
            format!("of each VM's last call: half within (dark), 95 % within (light); at most {peak:.1} ms");
        Chart { title: "Latency", caption, bars }
    }

    fn throttled(&self) -> Chart {
        let count = |step: &Step| f64::from(step.throttled);
        let peak = self.peak(count);
        let bars = self.bars("throttled", peak, count, |n| format!("{n:.0} answered 429"));
        let caption = match self.steps.iter().map(|step| u64::from(step.throttled)).sum() {
            0 => "none".into(),
            all => format!("{}, at most {peak:.0} in one step", counted(all, "answer", "answers")),
        };
        Chart { title: "429 Too Many Requests", caption, bars }
    }

    fn peak(&self, value: impl Fn(&Step) -> f64) -> f64 {
        self.steps.iter().map(value).fold(0.0, f64::max)
    }

    /// A bar for every step that has a value, as a share of the highest.
    fn bars(
        &self,
        class: &'static str,
        peak: f64,
        value: impl Fn(&Step) -> f64,
        title: impl Fn(f64) -> String,
    ) -> Vec<Bar> {
        let bars = self.steps.iter().enumerate().filter_map(|(step, at)| {
            let value = value(at);
            let title = || format!("after {}: {}", duration(step as f64 * self.step_s), title(value));
            (value > 0.0).then(|| Bar { class, step, height: 100.0 * value / peak, title: title() })
        });
        bars.collect()
    }
}

impl Step {
    const EMPTY: Self = Self { calls: 0, throttled: 0, latencies: [0; LATENCIES] };

    fn sum(steps: &[Self]) -> Self {
        steps.iter().fold(Self::EMPTY, |mut sum, step| {
            sum.calls += step.calls;
            sum.throttled += step.throttled;
            sum.latencies.iter_mut().zip(step.latencies).for_each(|(sum, n)| *sum += n);
            sum
        })
    }

    /// The latency in milliseconds within which that share of the calls came back.
    fn quantile(&self, share: f64) -> f64 {
        let all: u32 = self.latencies.iter().sum();
        let mut within = 0;
        let reached = self.latencies.iter().position(|n| {
            within += n;
            within > 0 && f64::from(within) >= share * f64::from(all)
        });
        reached.map_or(0.0, |bucket| SHORTEST_MS * (bucket as f64 / PER_OCTAVE).exp2())
    }
}

/// The first bucket whose upper end is not below the latency.
fn bucket(latency_ms: f64) -> usize {
    let steps = (PER_OCTAVE * (latency_ms / SHORTEST_MS).max(1.0).log2()).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let bucket = steps as usize;
    bucket.min(LATENCIES - 1)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::report::fixtures::{rows, run};

    fn called(at_s: i64, settled_s: i64, attempts: u32, throttled: u32) -> Row {
        let after = |seconds| Some(run().started_at + SignedDuration::from_secs(seconds));
        let latency_ms = Some(10.0);
        let (first_sent_at, settled_at) = (after(at_s), after(settled_s));
        Row { attempts, throttled, first_sent_at, settled_at, latency_ms, ..rows()[0].clone() }
    }

    fn timeline(rows: &[Row]) -> Timeline {
        let mut timeline = Timeline::new(run().started_at);
        for row in rows {
            timeline.add(row);
        }
        timeline
    }

    fn calls(timeline: &Timeline) -> Vec<u32> {
        timeline.steps.iter().map(|step| step.calls).collect()
    }

    #[test]
    fn calls_between_the_first_and_the_last_lie_evenly_and_the_429s_come_first() {
        let timeline = timeline(&[called(0, 5, 2, 1), called(1, 1, 1, 0)]);
        assert_eq!(calls(&timeline), [1, 1, 1, 0, 1]);
        let throttled: Vec<_> = timeline.steps.iter().map(|step| step.throttled).collect();
        assert_eq!(throttled, [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_long_run_has_longer_steps_and_loses_no_call() {
        let rows: Vec<Row> = (0..100_000).step_by(70).map(|at| called(at, at, 1, 0)).collect();
        let timeline = timeline(&rows);
        assert!((STEPS / 2..=STEPS).contains(&timeline.width()), "{}", timeline.width());
        assert_eq!(calls(&timeline).iter().sum::<u32>() as usize, rows.len());
    }

    #[test]
    fn vms_that_were_never_called_are_on_no_picture() {
        let timeline = timeline(&[Row { first_sent_at: None, ..rows()[0].clone() }]);
        assert_eq!(timeline.width(), 0);
        assert!(timeline.charts().iter().all(|chart| chart.bars.is_empty()));
    }

    #[test]
    fn the_pictures_say_in_words_what_they_show() {
        let mut slow = called(0, 2, 1, 0);
        slow.latency_ms = Some(1_000.0);
        let [calls, latency, throttled] = timeline(&[called(0, 2, 1, 3), called(0, 0, 1, 0), slow]).charts();
        assert_eq!(calls.caption, "at most 4.0/s, by steps of 1.0 s");
        assert_eq!(calls.bars[0].title, "after 0.0 s: 4.0 calls/s");
        assert!(latency.caption.ends_with("at most 1158.5 ms"), "{}", latency.caption);
        assert_eq!(throttled.caption, "3 answers, at most 2 in one step");
        assert_eq!(timeline(&[called(0, 1, 1, 0)]).charts()[2].caption, "none");
    }

    #[test]
    fn quantiles_are_right_to_a_quarter_of_an_octave() {
        for ms in [0.01, 0.1, 0.5, 3.0, 40.0, 999.0, 29_999.0] {
            let mut step = Step::EMPTY;
            step.latencies[bucket(ms)] += 1;
            let read = step.quantile(0.5);
            assert!(read >= ms && read / ms.max(SHORTEST_MS) < 1.2, "{ms}: {read}");
        }
    }
}
