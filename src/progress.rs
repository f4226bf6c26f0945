//! How far a run has come: a bar on a terminal, elsewhere a log line now and then.
//!
//! Counts what it is told and decides nothing. What it costs a settled VM is a comparison: rate, bar and lines are
//! made a few times a second. A terminal that goes away, or a log that is full, never stops a run.

mod copying;
mod line;
mod screen;

use std::env;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::ledger::Counts;
use crate::outcome::{Kind, Outcome};
use crate::text::{count, counted, duration, escape, is_dumb};
use crate::words::words;

pub use self::copying::CopyProgress;
use self::line::{Line, Says};
pub use self::screen::Screen;

/// The least time between two looks at the rate, and between two drawings of the bar. indicatif draws twice
/// for a new position and a new text: this makes ten drawings a second.
const REDRAW: Duration = Duration::from_millis(200);

/// The least time between two log lines.
const LOG: Duration = Duration::from_secs(10);

/// The time in which a change of the rate counts for half, in seconds.
const HALF_LIFE_S: f64 = 10.0;

words! {
    /// Where a run shows its progress.
    ProgressMode {
        /// A bar on a terminal, log lines elsewhere.
        Auto = "auto",
        /// The bar, terminal or not.
        Always = "always",
        Never = "never",
    }
}

/// Why a text is not a [`ProgressMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown progress mode (auto, always or never)")]
pub struct InvalidProgressMode;

impl FromStr for ProgressMode {
    type Err = InvalidProgressMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_word(text).ok_or(InvalidProgressMode)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bar,
    Lines,
    Silent,
}

impl Form {
    fn on(mode: ProgressMode, stderr_is_terminal: bool) -> Self {
        Self::of(mode, stderr_is_terminal && !is_dumb(env::var_os("TERM").as_deref()))
    }

    fn of(mode: ProgressMode, terminal: bool) -> Self {
        match (mode, terminal) {
            (ProgressMode::Always, _) | (ProgressMode::Auto, true) => Self::Bar,
            (ProgressMode::Auto, false) => Self::Lines,
            (ProgressMode::Never, _) => Self::Silent,
        }
    }
}

/// The progress of one run. Dropped, it takes its bar off the screen.
#[derive(Debug)]
pub struct Progress {
    form: Form,
    screen: Screen,
    counts: Counts,
    rate: Rate,
    message: Option<String>,
    looked: Instant,
    logged: Instant,
}

impl Progress {
    /// `counts` holds the VMs selected and, for a resumed run, the outcomes that it begins with: they count as done,
    /// but not towards the rate. `screen` is the one that log lines are written to.
    pub fn new(
        mode: ProgressMode,
        counts: Counts,
        stderr_is_terminal: bool,
        screen: &Screen,
        now: Instant,
    ) -> Self {
        Self::with_form(Form::on(mode, stderr_is_terminal), counts, screen, now)
    }

    fn with_form(form: Form, counts: Counts, screen: &Screen, now: Instant) -> Self {
        let rate = Rate::new(counts.settled(), now);
        let progress =
            Self { form, screen: screen.clone(), counts, rate, message: None, looked: now, logged: now };
        if form == Form::Bar {
            progress.screen.show_bar(counts.selected);
            progress.screen.draw(counts.settled(), progress.line());
        }
        progress
    }

    /// So many VMs more have this outcome.
    pub fn settled(&mut self, outcome: Outcome, vms: u64, now: Instant) {
        self.counts.add(outcome, vms);
        self.tick(now);
    }

    /// What came of the VMs so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long the rest will take, in seconds, as things stand; `None` where nothing moves.
    pub fn seconds_left(&self) -> Option<f64> {
        self.rate.seconds_for(self.counts.selected.saturating_sub(self.counts.settled()))
    }

    /// What the run is waiting for, such as `paused 12 s: the API asked for it`. Shown from the next tick on.
    pub fn message(&mut self, message: Option<String>) {
        self.message = message;
    }

    /// Brings what is shown up to date, where that is due. Called once a second or more often.
    pub fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) < REDRAW {
            return;
        }
        self.looked = now;
        self.rate.observe(self.counts.settled(), now);
        if self.form == Form::Bar {
            self.screen.draw(self.counts.settled(), self.line());
        }
        if let Some(line) = self.due_line(now) {
            let seconds_left = self.seconds_left();
            self.log(&line, self.rate.per_s(), seconds_left);
        }
    }

    /// Takes the bar off the screen, or logs the last line.
    pub fn finish(self) {
        if self.form == Form::Lines {
            let (done, failed) = self.standing();
            self.log(&format!("{done} · {failed}"), None, None);
        }
    }

    /// A line, whose numbers are fields too.
    fn log(&self, line: &str, per_s: Option<f64>, seconds_left: Option<f64>) {
        tracing::info!(
            said.settled = self.counts.settled(),
            said.selected = self.counts.selected,
            said.failed = self.counts.failed,
            said.per_s = per_s,
            said.seconds_left = seconds_left,
            "{} {line}",
            self.done()
        );
    }

    /// What is said of VMs that have their outcome.
    fn done(&self) -> &'static str {
        match self.counts.kind {
            Kind::Run => "settled",
            Kind::Plan => "looked at",
        }
    }

    fn due_line(&mut self, now: Instant) -> Option<String> {
        if self.form != Form::Lines || now.saturating_duration_since(self.logged) < LOG {
            return None;
        }
        self.logged = now;
        Some(self.line().whole())
    }

    /// `1,200 of 6,000 VMs · 3 failed · paused 12 s: the API asked for it · 9.9/s · 8 min 5 s left`
    fn line(&self) -> Line {
        let (done, failed) = self.standing();
        let mut line = Line::default();
        line.push(Says::Done, Some(done));
        line.push(Says::Failed, Some(failed));
        line.push(Says::Waiting, self.message.as_deref().map(|message| escape(message).into_owned()));
        line.push(Says::Rate, self.rate.per_s().map(|per_s| format!("{per_s:.1}/s")));
        line.push(Says::Left, self.seconds_left().map(|seconds| format!("{} left", duration(seconds))));
        line
    }

    /// How many are done, and how many of them failed.
    fn standing(&self) -> (String, String) {
        let Counts { selected, failed, .. } = self.counts;
        let done = count(self.counts.settled());
        (format!("{done} of {}", counted(selected, "VM", "VMs")), format!("{} failed", count(failed)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.form == Form::Bar {
            self.screen.hide_bar();
        }
    }
}

/// How many VMs are settled a second, or calls leave, the latest moments weighing most.
#[derive(Debug)]
pub(crate) struct Rate {
    settled: u64,
    at: Instant,
    /// Exponentially weighted, as if all had stood still before the start.
    weighted: f64,
    /// How much of `weighted` was seen: what is missing to 1 is that standstill.
    weight: f64,
}

impl Rate {
    pub(crate) fn new(settled: u64, now: Instant) -> Self {
        Self { settled, at: now, weighted: 0.0, weight: 0.0 }
    }

    pub(crate) fn observe(&mut self, settled: u64, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let kept = 0.5_f64.powf(seconds / HALF_LIFE_S);
        let current = float(settled.saturating_sub(self.settled)) / seconds;
        self.weighted = kept * self.weighted + (1.0 - kept) * current;
        self.weight = kept * self.weight + (1.0 - kept);
        self.settled = settled;
        self.at = now;
    }

    /// `None` until there was time to see one.
    pub(crate) fn per_s(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.weighted / self.weight)
    }

    /// How long `vms` more will take; `None` where nothing moves, or that is more than a guess of years.
    fn seconds_for(&self, vms: u64) -> Option<f64> {
        let seconds = float(vms) / self.per_s()?;
        (seconds < 365.0 * 86_400.0).then_some(seconds)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of VMs are far below 2^53")]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn counts(selected: u64) -> Counts {
        Counts { selected, ..Counts::default() }
    }

    fn lines(counts: Counts, now: Instant) -> Progress {
        Progress::with_form(Form::Lines, counts, &Screen::stderr(), now)
    }

    /// Settles `per_second` VMs a second for some seconds and returns the lines that fell due.
    fn run(progress: &mut Progress, now: &mut Instant, seconds: u32, per_second: u32) -> Vec<String> {
        let mut due = Vec::new();
        for _ in 0..seconds * 5 {
            *now += SECOND / 5;
            for _ in 0..per_second / 5 {
                progress.counts.add(Outcome::Unchanged, 1);
            }
            progress.rate.observe(progress.counts.settled(), *now);
            due.extend(progress.due_line(*now));
        }
        due
    }

    #[test]
    fn the_bar_needs_a_terminal_or_an_order() {
        use ProgressMode::{Always, Auto, Never};
        for (mode, terminal, form) in [
            (Auto, true, Form::Bar),
            (Auto, false, Form::Lines),
            (Always, true, Form::Bar),
            (Always, false, Form::Bar),
            (Never, true, Form::Silent),
            (Never, false, Form::Silent),
        ] {
            assert_eq!(Form::of(mode, terminal), form, "{mode} {terminal}");
        }
        for &mode in ProgressMode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        assert_eq!("sometimes".parse::<ProgressMode>(), Err(InvalidProgressMode));
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_ten_seconds_and_no_sooner() {
        let mut now = Instant::now();
        let mut progress = lines(counts(6_000), now);
        let due = run(&mut progress, &mut now, 9, 10);
        assert_eq!(due, Vec::<String>::new());
        let due = run(&mut progress, &mut now, 21, 10);
        assert_eq!(
            due,
            [
                "100 of 6,000 VMs · 0 failed · 10.0/s · 9 min 50 s left",
                "200 of 6,000 VMs · 0 failed · 10.0/s · 9 min 40 s left",
                "300 of 6,000 VMs · 0 failed · 10.0/s · 9 min 30 s left",
            ]
        );
    }

    #[test]
    fn a_line_says_what_failed_and_what_the_run_waits_for() {
        let now = Instant::now();
        let mut progress = lines(counts(1), now);
        assert_eq!(progress.line().whole(), "0 of 1 VM · 0 failed");
        progress.settled(Outcome::Failed, 1, now + SECOND);
        progress.message(Some("paused 12 s: \u{1b}[2Jthe API asked for it".into()));
        let line = r"1 of 1 VM · 1 failed · paused 12 s: \u{1b}[2Jthe API asked for it · 1.0/s · 0.0 s left";
        assert_eq!(progress.line().whole(), line);
    }

    #[test]
    fn a_resumed_run_is_as_far_as_it_was_and_as_fast_as_it_is() {
        let mut now = Instant::now();
        let begun = Counts { selected: 10_000, unchanged: 8_000, failed: 5, ..Counts::default() };
        let mut progress = lines(begun, now);
        let due = run(&mut progress, &mut now, 10, 5);
        assert_eq!(due, ["8,055 of 10,000 VMs · 5 failed · 5.0/s · 6 min 29 s left"]);
    }

    #[test]
    fn the_rate_follows_the_last_moments_and_fades_in_a_pause() {
        let mut now = Instant::now();
        let mut progress = lines(counts(100_000), now);
        run(&mut progress, &mut now, 60, 10);
        run(&mut progress, &mut now, 10, 30);
        let rate = progress.rate.per_s().unwrap();
        assert!((19.9..20.3).contains(&rate), "{rate}");
        run(&mut progress, &mut now, 60, 30);
        let rate = progress.rate.per_s().unwrap();
        assert!((29.7..30.1).contains(&rate), "{rate}");
        run(&mut progress, &mut now, 600, 0);
        assert_eq!(progress.rate.seconds_for(90_000), None);
        assert!(progress.line().whole().ends_with(" · 0.0/s"), "{}", progress.line().whole());
    }

    #[test]
    fn a_clock_that_stands_still_makes_no_rate() {
        let now = Instant::now();
        let mut progress = lines(counts(10), now);
        progress.rate.observe(5, now);
        assert_eq!(progress.rate.per_s(), None);
    }

    #[test]
    fn the_bar_is_drawn_at_most_every_fifth_of_a_second_and_gone_at_the_end() {
        let now = Instant::now();
        let (screen, out) = Screen::captured();
        let mut progress = Progress::with_form(Form::Bar, counts(1_000), &screen, now);
        let begun = out.take();
        assert!(begun.contains("0 of 1,000 VMs · 0 failed"), "{begun:?}");
        for i in 0..500 {
            progress.settled(Outcome::Created, 1, now + SECOND / 5 * i / 501);
        }
        assert_eq!(out.take(), "");
        progress.settled(Outcome::Failed, 1, now + SECOND / 5);
        let drawn = out.take();
        assert!(drawn.contains("━ "), "{drawn:?}");
        assert!(drawn.contains("501 of 1,000 VMs · 1 failed · 2505.0/s · 0.2 s left"), "{drawn:?}");
        progress.finish();
        assert_eq!(out.take(), "\r\u{1b}[2K");
    }
}
