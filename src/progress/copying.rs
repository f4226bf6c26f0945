//! How far a copy of a ledger has come: a bar on a terminal, elsewhere a log line now and then.

use std::time::Instant;

use super::line::{Line, Says};
use super::{Form, LOG, ProgressMode, REDRAW, Rate, Screen};
use crate::ledger::Headway;
use crate::text::{count, counted, duration};

/// The progress of one copy. Dropped, it takes its bar off the screen.
#[derive(Debug)]
pub struct CopyProgress {
    form: Form,
    screen: Screen,
    rate: Rate,
    /// `None` until the first rows are copied.
    looked: Option<Instant>,
    logged: Instant,
}

impl CopyProgress {
    /// `screen` is the one that log lines are written to.
    pub fn new(stderr_is_terminal: bool, screen: &Screen, now: Instant) -> Self {
        Self::with_form(Form::on(ProgressMode::Auto, stderr_is_terminal), screen, now)
    }

    fn with_form(form: Form, screen: &Screen, now: Instant) -> Self {
        Self { form, screen: screen.clone(), rate: Rate::new(0, now), looked: None, logged: now }
    }

    /// So much is done: shown where that is due.
    pub fn tell(&mut self, headway: Headway, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < REDRAW) {
            return;
        }
        if self.looked.is_none() && self.form == Form::Bar {
            self.screen.show_bar(headway.of);
        }
        self.looked = Some(now);
        self.rate.observe(headway.rows, now);
        if self.form == Form::Bar {
            self.screen.draw(headway.rows, self.line(headway));
        }
        if let Some(line) = self.due_line(headway, now) {
            tracing::info!("copied and compared {line}");
        }
    }

    fn due_line(&mut self, headway: Headway, now: Instant) -> Option<String> {
        if self.form != Form::Lines || now.saturating_duration_since(self.logged) < LOG {
            return None;
        }
        self.logged = now;
        Some(self.line(headway).whole())
    }

    /// `1,200,000 of 6,000,000 rows · 40,000.0/s · 2 min left`
    fn line(&self, Headway { rows, of }: Headway) -> Line {
        let mut line = Line::default();
        line.push(Says::Done, Some(format!("{} of {}", count(rows), counted(of, "row", "rows"))));
        line.push(Says::Rate, self.rate.per_s().map(|per_s| format!("{per_s:.1}/s")));
        let remaining = self.rate.seconds_for(of.saturating_sub(rows));
        line.push(Says::Left, remaining.map(|seconds| format!("{} left", duration(seconds))));
        line
    }
}

impl Drop for CopyProgress {
    fn drop(&mut self) {
        if self.form == Form::Bar && self.looked.is_some() {
            self.screen.hide_bar();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_terminal_a_line_comes_every_ten_seconds_and_no_sooner() {
        let begun = Instant::now();
        let mut progress = CopyProgress::with_form(Form::Lines, &Screen::stderr(), begun);
        let mut due = Vec::new();
        for second in 1..=25_u32 {
            let (headway, now) =
                (Headway { rows: u64::from(second) * 1_000, of: 60_000 }, begun + SECOND * second);
            progress.rate.observe(headway.rows, now);
            due.extend(progress.due_line(headway, now));
        }
        let expected = [
            "10,000 of 60,000 rows · 1000.0/s · 50.0 s left",
            "20,000 of 60,000 rows · 1000.0/s · 40.0 s left",
        ];
        assert_eq!(due, expected);
    }

    #[test]
    fn the_bar_is_drawn_at_most_every_fifth_of_a_second_and_gone_at_the_end() {
        let now = Instant::now();
        let (screen, out) = Screen::captured();
        let mut progress = CopyProgress::with_form(Form::Bar, &screen, now);
        let headway = |rows| Headway { rows, of: 4_000 };
        progress.tell(headway(0), now);
        assert!(out.take().contains("0 of 4,000 rows"));
        progress.tell(headway(1_000), now + SECOND / 6);
        assert_eq!(out.take(), "");
        progress.tell(headway(2_000), now + SECOND);
        let drawn = out.take();
        assert!(
            drawn.contains("━ ") && drawn.contains("2,000 of 4,000 rows · 2000.0/s · 1.0 s left"),
            "{drawn:?}"
        );
        drop(progress);
        assert_eq!(out.take(), "\r\u{1b}[2K");
    }
}
