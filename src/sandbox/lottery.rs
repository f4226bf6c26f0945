//! How often requests and connections go wrong, and which of them do.
//!
//! Pure: which fault a request meets follows from the seed and its number alone, so that requests that come one after
//! another meet the same ones every time.

use std::str::FromStr;

use super::fault::{Fault, InvalidFault};
use super::route::Kind;

/// A share of calls, from none to all: `10%` or `0.1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

/// Why a text is not a [`Share`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a share such as 10% or 0.1")]
pub struct InvalidShare;

impl Share {
    /// Whether a lot from 0 to 1 falls into it.
    pub(super) fn holds(self, lot: f64) -> bool {
        lot < self.0
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let share: f64 = number.parse().ok().filter(|_| plain).ok_or(InvalidShare)?;
        let share = share / whole;
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(InvalidShare) }
    }
}

/// How often a fault befalls a request, written `KIND=SHARE`, or `look:KIND=SHARE` for looks alone (so with `call:` and
/// `list:`); `all` is every kind but `429-year` and those of HTTP/2, clocks, accounts and lists, evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultShare {
    /// `None` for requests of every kind.
    of: Option<Kind>,
    /// `None` for all that a run can survive.
    fault: Option<Fault>,
    share: Share,
}

/// Why a text is not a [`FaultShare`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaultShare {
    #[error("not a fault and its share, such as reset-after=10% or all=10%")]
    Form,
    #[error(transparent)]
    Fault(#[from] InvalidFault),
    #[error(transparent)]
    Share(#[from] InvalidShare),
}

impl FromStr for FaultShare {
    type Err = InvalidFaultShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, share) = text.split_once('=').ok_or(InvalidFaultShare::Form)?;
        let (of, kind) = match kind.split_once(':') {
            Some((of, kind)) => (Some(of.parse().map_err(|()| InvalidFaultShare::Form)?), kind),
            None => (None, kind),
        };
        let fault = if kind == "all" { None } else { Some(kind.parse()?) };
        Ok(Self { of, fault, share: share.parse()? })
    }
}

/// Why shares make no [`Lottery`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the faults have more than all of the calls, or of the connections")]
pub struct TooManyFaults;

/// Draws the fault of each call, or of each connection's beginning. Nothing meets two.
#[derive(Debug)]
pub(super) struct Lottery<F> {
    seed: u64,
    draw: Draw,
    /// Each fault with the end of its part of the way from 0 to 1.
    ends: Vec<(f64, F)>,
}

impl Lottery<Fault> {
    /// For the requests of one kind.
    fn of_requests(kind: Kind, seed: u64, shares: &[FaultShare]) -> Result<Self, TooManyFaults> {
        let each = |&FaultShare { fault, share, .. }: &FaultShare| {
            let faults: Vec<Fault> = fault.map_or_else(|| Fault::survivable().collect(), |fault| vec![fault]);
            let share = share.0 / f64::from(u32::try_from(faults.len()).unwrap_or(u32::MAX));
            faults.into_iter().map(move |fault| (fault, Share(share)))
        };
        let shares = shares.iter().filter(|share| share.of.is_none_or(|of| of == kind));
        Self::new(seed, Draw::Fault, shares.flat_map(each))
    }
}

impl<F: Copy> Lottery<F> {
    pub(super) fn new(
        seed: u64,
        draw: Draw,
        shares: impl IntoIterator<Item = (F, Share)>,
    ) -> Result<Self, TooManyFaults> {
        let mut end = 0.0;
        let mut ends = Vec::new();
        for (fault, Share(share)) in shares {
            end += share;
            ends.push((end, fault));
        }
        // Ten tenths are a little less or more than one.
        if end > 1.0 + 1e-9 { Err(TooManyFaults) } else { Ok(Self { seed, draw, ends }) }
    }

    /// The fault of number `number`, if it has one.
    pub(super) fn draw(&self, number: u64) -> Option<F> {
        if self.ends.is_empty() {
            return None;
        }
        let lot = lot(self.seed, number, self.draw);
        self.ends.iter().find(|(end, _)| lot < *end).map(|&(_, fault)| fault)
    }
}

/// The faults of requests of each kind.
#[derive(Debug)]
pub(super) struct Lotteries {
    calls: Lottery<Fault>,
    looks: Lottery<Fault>,
    lists: Lottery<Fault>,
}

impl Lotteries {
    pub(super) fn new(seed: u64, shares: &[FaultShare]) -> Result<Self, TooManyFaults> {
        let of = |kind| Lottery::of_requests(kind, seed, shares);
        Ok(Self { calls: of(Kind::Call)?, looks: of(Kind::Look)?, lists: of(Kind::List)? })
    }

    /// The fault of request number `number`, if it has one.
    pub(super) fn draw(&self, kind: Kind, number: u64) -> Option<Fault> {
        let lottery = match kind {
            Kind::Call => &self.calls,
            Kind::Look => &self.looks,
            Kind::List => &self.lists,
        };
        lottery.draw(number)
    }
}

/// What a lot is drawn for: the same call has another lot for each.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    Fault,
    Failure,
    Handshake,
}

/// A number from 0 to 1 that follows from the seed and the call's number.
pub(super) fn lot(seed: u64, number: u64, draw: Draw) -> f64 {
    let stream = match draw {
        Draw::Fault => 0x9e37_79b9_7f4a_7c15,
        Draw::Failure => 0xd1b5_4a32_d192_ed03,
        Draw::Handshake => 0x8cb9_2ba7_2f3d_8dd7,
    };
    // The first draw of two seeds that differ little is alike: mix first.
    let mut mixing = fastrand::Rng::with_seed(seed ^ stream);
    fastrand::Rng::with_seed(mixing.u64(..) ^ number.wrapping_mul(stream)).f64()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::sandbox::fault::{FAULTS, When};

    fn lottery(seed: u64, shares: &[&str]) -> Result<Lottery<Fault>, TooManyFaults> {
        let shares: Vec<FaultShare> = shares.iter().map(|share| share.parse().unwrap()).collect();
        Lottery::of_requests(Kind::Call, seed, &shares)
    }

    #[test]
    fn a_share_is_a_percentage_or_a_fraction() {
        for (text, share) in
            [("10%", 0.1), ("0.1", 0.1), ("2.5%", 0.025), ("100%", 1.0), ("1", 1.0), ("0", 0.0)]
        {
            assert!((text.parse::<Share>().unwrap().0 - share).abs() < 1e-12, "{text}");
        }
        for text in ["", "%", ".", "101%", "1.1", "10", "-1%", "1e-3", "inf", "NaN", "+1", "5 %", "1%%"] {
            assert_eq!(text.parse::<Share>(), Err(InvalidShare), "{text}");
        }
    }

    #[test]
    fn a_fault_and_its_share_are_typed_together() {
        let fault = Some(Fault::Reset(When::After));
        assert_eq!("reset-after=25%".parse(), Ok(FaultShare { of: None, fault, share: Share(0.25) }));
        let looks = Some(Kind::Look);
        assert_eq!("look:reset-after=25%".parse(), Ok(FaultShare { of: looks, fault, share: Share(0.25) }));
        assert_eq!("all=0.5".parse(), Ok(FaultShare { of: None, fault: None, share: Share(0.5) }));
        for (text, reason) in [
            ("hang", InvalidFaultShare::Form),
            ("gaze:hang=2%", InvalidFaultShare::Form),
            ("hang=2", InvalidFaultShare::Share(InvalidShare)),
            ("hung=2%", InvalidFaultShare::Fault(InvalidFault::Unknown)),
            ("refuse=2%", InvalidFaultShare::Fault(InvalidFault::Refuse)),
        ] {
            assert_eq!(text.parse::<FaultShare>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn each_fault_has_its_share_of_the_calls() {
        let lottery = lottery(5, &["all=25%", "hang=10%", "429-year=50%"]).unwrap();
        let mut drawn: HashMap<&str, u32> = HashMap::new();
        for number in 0..100_000 {
            let name = lottery.draw(number).map_or("none", Fault::name);
            *drawn.entry(name).or_default() += 1;
        }
        for (name, fault) in FAULTS {
            let expected = match name {
                "hang" => 11_000,
                "429-year" => 50_000,
                _ if fault.is_of_http2() || fault.is_of_clocks() || fault.is_of_accounts() => 0,
                _ => 1_000,
            };
            let seen = drawn.get(name).copied().unwrap_or_default();
            assert!(seen.abs_diff(expected) < 150 + expected / 50, "{name}: {seen} of {expected}");
        }
        assert!(drawn["none"].abs_diff(15_000) < 500);
    }

    #[test]
    fn requests_of_one_kind_can_go_wrong_alone() {
        let shares = ["look:hang=100%", "list:garbage=60%", "hang-after=40%"];
        let of = |kind, shares: &[&str]| {
            let shares: Vec<FaultShare> = shares.iter().map(|share| share.parse().unwrap()).collect();
            Lottery::of_requests(kind, 1, &shares)
        };
        let names = |kind, shares: &[&str]| {
            let lottery = of(kind, shares).unwrap();
            let drawn = (0..100).map(|number| lottery.draw(number).map_or("none", Fault::name));
            drawn.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Kind::Call, &shares), "hang-after none");
        assert_eq!(names(Kind::List, &shares), "garbage hang-after");
        assert_eq!(names(Kind::Look, &shares[..2]), "hang");
        assert!(of(Kind::Look, &shares).is_err());
    }

    #[test]
    fn what_is_drawn_follows_from_the_seed_and_the_calls_number_alone() {
        let draws = |seed| {
            let lottery = lottery(seed, &["all=50%"]).unwrap();
            (0..200).map(|number| lottery.draw(number)).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        for seed in 0..7 {
            assert_ne!(draws(seed), draws(seed + 1), "{seed}");
        }
    }

    #[test]
    fn all_calls_can_go_wrong_but_no_more_than_all() {
        let tenths = ["hang=10%"; 10];
        assert!((0..10_000).all(|number| lottery(1, &tenths).unwrap().draw(number).is_some()));
        assert!((0..10_000).all(|number| lottery(1, &["all=0%"]).unwrap().draw(number).is_none()));
        assert_eq!(lottery(1, &["all=60%", "hang=41%"]).err(), Some(TooManyFaults));
    }
}
