//! Has the inventory lost so many VMs that it is rather cut off than smaller? Pure.

use std::fmt;
use std::str::FromStr;

use crate::text::count;

/// "More than this share of the VMs", in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

/// Why a text is not a [`Share`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a share: write a percentage from 0% to 100%, such as 10%")]
pub struct InvalidShare;

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('%').map(str::parse) {
            Some(Ok(share)) if (0.0..=100.0).contains(&share) => Ok(Self(share)),
            _ => Err(InvalidShare),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The inventory at its last complete run, and how much smaller it may be now.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    pub most: Share,
    /// The id of that run.
    pub run: String,
    /// The valid VMs of the whole inventory then.
    pub vms: u64,
}

/// The inventory has lost more than it may.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the inventory has {} VMs, and had {} at its last complete run ({}): {} ({:.1}%) are gone, more than \
     --max-shrink {} allows; nothing was called. If that is right, accept it for one run: --max-shrink 100%",
    count(*.now), count(.guard.vms), .guard.run, count(.guard.lost(*.now)), .guard.percent_lost(*.now), .guard.most
)]
pub struct Shrunk {
    guard: Guard,
    now: u64,
}

impl Guard {
    /// Whether an inventory of `now` VMs may be run.
    pub fn check(&self, now: u64) -> Result<(), Shrunk> {
        match self.percent_lost(now) > self.most.0 {
            true => Err(Shrunk { guard: self.clone(), now }),
            false => Ok(()),
        }
    }

    fn lost(&self, now: u64) -> u64 {
        self.vms.saturating_sub(now)
    }

    #[expect(clippy::cast_precision_loss, reason = "no fleet has 2^53 VMs")]
    fn percent_lost(&self, now: u64) -> f64 {
        match self.vms {
            0 => 0.0,
            vms => self.lost(now) as f64 * 100.0 / vms as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(most: &str, vms: u64) -> Guard {
        Guard { most: most.parse().unwrap(), run: "20261123T021500Z-7f3a".into(), vms }
    }

    #[test]
    fn more_than_the_share_stops_and_the_share_itself_does_not() {
        for (most, before, now, goes_on) in [
            ("10%", 60, 60, true),
            ("10%", 60, 54, true),
            ("10%", 60, 53, false),
            ("10%", 60, 70, true),
            ("0%", 60, 59, false),
            ("0%", 60, 60, true),
            ("0.5%", 1_000, 995, true),
            ("0.5%", 1_000, 994, false),
            ("100%", 60, 0, true),
            ("0%", 0, 0, true),
        ] {
            assert_eq!(guard(most, before).check(now).is_ok(), goes_on, "{most} {before} {now}");
        }
    }

    #[test]
    fn it_is_said_by_how_much_and_how_to_accept_it() {
        assert_eq!(
            guard("12.5%", 6_000).check(1_200).unwrap_err().to_string(),
            "the inventory has 1,200 VMs, and had 6,000 at its last complete run (20261123T021500Z-7f3a): \
             4,800 (80.0%) are gone, more than --max-shrink 12.5% allows; nothing was called. \
             If that is right, accept it for one run: --max-shrink 100%"
        );
    }

    #[test]
    fn a_share_is_a_percentage() {
        for text in ["0%", "10%", "12.5%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["", "%", "10", "-1%", "101%", "NaN%", "ten%"] {
            assert_eq!(text.parse::<Share>(), Err(InvalidShare), "{text}");
        }
    }
}
