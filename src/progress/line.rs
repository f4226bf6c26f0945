//! How far something has come, in one line: as much of it as there is room for.

/// Between two parts.
const BETWEEN: &str = " · ";

/// Columns of the bar, and of what sets it off from the text.
const BAR: usize = 17;

/// Columns in which a text still says something.
const LEAST: usize = 12;

/// What a part says; where not all have room, the first of these go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    /// What is waited for: cut short, if that will do.
    Waiting,
    /// How many failed.
    Failed,
    /// How fast it goes.
    Rate,
    /// How long it still takes.
    Left,
    /// How much is done.
    Done,
}

/// The parts, in the order in which they are read.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<(Says, String)>);

/// What there is room for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) with_bar: bool,
    pub(super) text: String,
}

impl Line {
    pub(super) fn push(&mut self, says: Says, text: Option<String>) {
        self.0.extend(text.map(|text| (says, text)));
    }

    /// All of it.
    pub(super) fn whole(&self) -> String {
        let parts: Vec<&str> = self.0.iter().map(|(_, text)| text.as_str()).collect();
        parts.join(BETWEEN)
    }

    /// What has room beside a bar, or else without one, in so many columns.
    pub(super) fn within(mut self, columns: usize) -> Fitted {
        let with_bar = self.columns() + BAR <= columns;
        while self.columns() > columns && self.0.len() > 1 {
            self.shorten(self.columns() - columns);
        }
        Fitted { with_bar, text: self.whole() }
    }

    /// By so many columns, if not more.
    fn shorten(&mut self, columns: usize) {
        let first = self.0.iter().enumerate().min_by_key(|(_, (says, _))| *says);
        let Some((nth, (says, text))) = first else { return };
        let kept = text.chars().count().saturating_sub(columns);
        match *says == Says::Waiting && kept >= LEAST {
            true => self.0[nth].1 = text.chars().take(kept - 1).chain(['…']).collect(),
            false => drop(self.0.remove(nth)),
        }
    }

    fn columns(&self) -> usize {
        self.whole().chars().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(parts: &[(Says, &str)]) -> Line {
        Line(parts.iter().map(|&(says, text)| (says, text.to_owned())).collect())
    }

    #[test]
    fn what_has_no_room_goes_in_turn_and_the_rate_and_the_time_left_go_last() {
        let going = [
            (Says::Done, "1,200 of 6,000 VMs"),
            (Says::Failed, "3 failed"),
            (Says::Rate, "9.9/s"),
            (Says::Left, "8 min 5 s left"),
        ];
        let mut waiting = going.to_vec();
        waiting.insert(2, (Says::Waiting, "paused 12 s: the API asked for it"));
        for (parts, columns, with_bar, text) in [
            (
                &waiting[..],
                200,
                true,
                "1,200 of 6,000 VMs · 3 failed · paused 12 s: the API asked for it · 9.9/s · 8 min 5 s left",
            ),
            (
                &waiting,
                80,
                false,
                "1,200 of 6,000 VMs · 3 failed · paused 12 s: the API a… · 9.9/s · 8 min 5 s left",
            ),
            (&waiting, 60, false, "1,200 of 6,000 VMs · 3 failed · 9.9/s · 8 min 5 s left"),
            (&going, 80, true, "1,200 of 6,000 VMs · 3 failed · 9.9/s · 8 min 5 s left"),
            (&going, 50, false, "1,200 of 6,000 VMs · 9.9/s · 8 min 5 s left"),
            (&waiting, 40, false, "1,200 of 6,000 VMs · 8 min 5 s left"),
            (&going, 20, false, "1,200 of 6,000 VMs"),
            (&going, 0, false, "1,200 of 6,000 VMs"),
        ] {
            let fitted = line(parts).within(columns);
            assert_eq!(fitted, Fitted { with_bar, text: text.to_owned() }, "{columns}");
            assert!(columns < 20 || fitted.text.chars().count() + if with_bar { BAR } else { 0 } <= columns);
        }
    }
}
