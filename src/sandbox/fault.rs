//! What can go wrong with one call, how often, and for whom always.
//!
//! Pure: which fault a call meets follows from the seed and the call's number alone, so that calls that come one
//! after another meet the same ones every time. What a fault does is for `respond`, `spoil` and `server`.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

use super::route::Kind;
use super::world::RackIndex;

/// Something that goes wrong with one call.
///
/// Written `reset-before`, `reset-after`, `hang`, `hang-after`, `late`, `500-before`, `500-after` (so with 502, 503
/// and 504; `500` alone is `500-before`), `html-403`, `html-502`, `html-520`, `truncated`, `garbage`, `endless`,
/// `refused-by-api`, `429-second`, `429-zero`, `429-negative`, `429-fraction`, `429-year`, `429-past`, and of HTTP/2
/// `stream-reset-before`, `stream-reset-after`, `refused-stream`, `goaway`, `silent-before` and `silent-after`; of
/// clocks `late-effect`, `stale-503` and `cached-502`; of accounts `409-not-ready`, `409-upstream-before`,
/// `409-upstream-after` and `403-inactive`; of lists `same-cursor`, `doubled-item` and `moved-item`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset without an answer, and so are the other calls on it.
    Reset(When),
    /// There is no answer, and the connection stays.
    Hang(When),
    /// It acts at once and answers much later.
    Late,
    /// It answers this status in JSON.
    Status(ServerError, When),
    /// Something in front of the API answers, in HTML.
    Html(EdgeError),
    /// It acts; its answer says how long it is, and breaks off in the middle.
    Truncated,
    /// It acts and answers 2xx with bytes that are no JSON.
    Garbage,
    /// It acts and answers 2xx with a body that never ends.
    Endless,
    /// It answers 200 with `"success": false`, and does not act.
    RefusedByApi,
    /// It answers 429 whatever the rate.
    Lie(Lie),
    /// The call's stream is reset without an answer; over HTTP/1.1 the connection is.
    StreamReset(When),
    /// `REFUSED_STREAM`: the call was not looked at; over HTTP/1.1 the connection is reset.
    RefusedStream,
    /// `GOAWAY` with a last stream before this one, and the connection ends; over HTTP/1.1 it is reset.
    GoAway,
    /// It acts much later, and answers then.
    LateEffect,
    /// It answers 503 with times that are an hour old, and does not act.
    Stale,
    /// Something in front of the API answers 502 from its cache, an hour old.
    Cached,
    /// The connection goes silent for good: nothing is heard on it or sent; over HTTP/1.1 as with a hang.
    Silence(When),
    /// It answers 409 with a code that asks for another call.
    Conflict(Conflict),
    /// It answers 403: the account is inactive.
    Inactive,
    /// A page of a list is wrong.
    List(ListFault),
}

/// A code of [`Fault::Conflict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    NotReady,
    UpstreamFailed(When),
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFault {
    /// Its `nextCursor` leads to itself.
    SameCursor,
    /// Its last item is the next page's first as well.
    DoubledItem,
    /// The same, and its contents differ.
    MovedItem,
}

/// Whether a call still acts when something goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// A status of [`Fault::Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerError {
    Internal,
    BadGateway,
    Unavailable,
    GatewayTimeout,
}

/// A status of [`Fault::Html`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeError {
    Forbidden,
    BadGateway,
    Unknown,
}

/// A wait that a 429 asks for, whatever the rate, and that it may not mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// So many seconds.
    Seconds(u32),
    /// `0`
    Zero,
    /// `-5`
    Negative,
    /// `1.5`
    Fraction,
    /// `31536000`
    Year,
    /// A date an hour ago.
    Past,
}

/// Why a text is not a [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFault {
    #[error("connections are refused by a phase only, such as --phase 10s..40s=refuse")]
    Refuse,
    #[error("not a fault; there are {}", Fault::names())]
    Unknown,
}

const FAULTS: [(&str, Fault); 42] = {
    use Fault::{Cached, Endless, Garbage, GoAway, Hang, Html, Late, LateEffect, Lie, RefusedByApi};
    use Fault::{RefusedStream, Reset, Silence, Stale, Status, StreamReset, Truncated};
    use ServerError::{BadGateway, GatewayTimeout, Internal, Unavailable};
    use When::{After, Before};
    [
        ("reset-before", Reset(Before)),
        ("reset-after", Reset(After)),
        ("hang", Hang(Before)),
        ("hang-after", Hang(After)),
        ("stream-reset-before", StreamReset(Before)),
        ("stream-reset-after", StreamReset(After)),
        ("refused-stream", RefusedStream),
        ("goaway", GoAway),
        ("silent-before", Silence(Before)),
        ("silent-after", Silence(After)),
        ("late", Late),
        ("late-effect", LateEffect),
        ("stale-503", Stale),
        ("cached-502", Cached),
        ("500-before", Status(Internal, Before)),
        ("500-after", Status(Internal, After)),
        ("502-before", Status(BadGateway, Before)),
        ("502-after", Status(BadGateway, After)),
        ("503-before", Status(Unavailable, Before)),
        ("503-after", Status(Unavailable, After)),
        ("504-before", Status(GatewayTimeout, Before)),
        ("504-after", Status(GatewayTimeout, After)),
        ("html-403", Html(EdgeError::Forbidden)),
        ("html-502", Html(EdgeError::BadGateway)),
        ("html-520", Html(EdgeError::Unknown)),
        ("truncated", Truncated),
        ("garbage", Garbage),
        ("endless", Endless),
        ("refused-by-api", RefusedByApi),
        ("409-not-ready", Fault::Conflict(Conflict::NotReady)),
        ("409-upstream-before", Fault::Conflict(Conflict::UpstreamFailed(Before))),
        ("409-upstream-after", Fault::Conflict(Conflict::UpstreamFailed(After))),
        ("403-inactive", Fault::Inactive),
        ("same-cursor", Fault::List(ListFault::SameCursor)),
        ("doubled-item", Fault::List(ListFault::DoubledItem)),
        ("moved-item", Fault::List(ListFault::MovedItem)),
        ("429-second", Lie(self::Lie::Seconds(1))),
        ("429-zero", Lie(self::Lie::Zero)),
        ("429-negative", Lie(self::Lie::Negative)),
        ("429-fraction", Lie(self::Lie::Fraction)),
        ("429-past", Lie(self::Lie::Past)),
        ("429-year", Lie(self::Lie::Year)),
    ]
};

impl Fault {
    /// As it is written in the record.
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(_, fault)| *fault == self).map_or("", |(name, _)| name)
    }

    /// All but `429-year`, which no run outlives, those that only HTTP/2 tells apart, and those of clocks, accounts and
    /// lists.
    fn survivable() -> impl Iterator<Item = Self> {
        let faults = FAULTS.iter().map(|&(_, fault)| fault).filter(|&fault| fault != Self::Lie(Lie::Year));
        faults.filter(|fault| !fault.is_of_http2() && !fault.is_of_clocks() && !fault.is_of_accounts())
    }

    fn is_of_accounts(self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Inactive | Self::List(_))
    }

    pub(super) fn of_lists(self) -> Option<ListFault> {
        match self {
            Self::List(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether it can befall a request of that kind.
    pub(super) fn befalls(self, kind: Kind) -> bool {
        match self {
            Self::List(_) => kind == Kind::List,
            Self::RefusedByApi => kind != Kind::List,
            Self::LateEffect => kind == Kind::Call,
            _ => true,
        }
    }

    fn is_of_clocks(self) -> bool {
        matches!(self, Self::LateEffect | Self::Stale | Self::Cached)
    }

    /// How old its answer says that it is.
    pub(super) fn age(self) -> SignedDuration {
        match self {
            Self::Stale | Self::Cached => SignedDuration::from_hours(1),
            _ => SignedDuration::ZERO,
        }
    }

    fn is_of_http2(self) -> bool {
        matches!(self, Self::StreamReset(_) | Self::RefusedStream | Self::GoAway | Self::Silence(_))
    }

    fn names() -> String {
        FAULTS.map(|(name, _)| name).join(", ")
    }

    /// Whether the call acts all the same.
    pub(super) fn acts(self) -> bool {
        match self {
            Self::Reset(when)
            | Self::Hang(when)
            | Self::Status(_, when)
            | Self::StreamReset(when)
            | Self::Conflict(Conflict::UpstreamFailed(when))
            | Self::Silence(when) => when == When::After,
            Self::Late | Self::Truncated | Self::Garbage | Self::Endless | Self::List(_) => true,
            Self::Conflict(Conflict::NotReady)
            | Self::Inactive
            | Self::Html(_)
            | Self::RefusedByApi
            | Self::Lie(_)
            | Self::RefusedStream
            | Self::GoAway
            | Self::LateEffect
            | Self::Stale
            | Self::Cached => false,
        }
    }

    /// Whether it can only befall a call that would be answered 2xx.
    pub(super) fn needs_success(self) -> bool {
        match self {
            Self::Truncated | Self::Garbage | Self::Endless | Self::List(_) => true,
            Self::Conflict(_)
            | Self::Inactive
            | Self::Reset(_)
            | Self::Hang(_)
            | Self::Late
            | Self::Status(..)
            | Self::Html(_)
            | Self::RefusedByApi
            | Self::Lie(_)
            | Self::StreamReset(_)
            | Self::RefusedStream
            | Self::GoAway
            | Self::Silence(_)
            | Self::LateEffect
            | Self::Stale
            | Self::Cached => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = match text {
            "refuse" => return Err(InvalidFault::Refuse),
            "500" | "502" | "503" | "504" => &format!("{text}-before"),
            _ => text,
        };
        let found = FAULTS.iter().find(|(name, _)| *name == wanted);
        found.map(|&(_, fault)| fault).ok_or(InvalidFault::Unknown)
    }
}

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

/// The racks and VMs with which every call goes wrong, until somebody mends them.
#[derive(Debug, Default)]
pub(super) struct Defects {
    racks: HashMap<RackIndex, Fault>,
    vms: HashMap<u64, Fault>,
}

impl Defects {
    pub(super) fn is_empty(&self) -> bool {
        self.racks.is_empty() && self.vms.is_empty()
    }

    /// The VM's own fault goes before its rack's.
    pub(super) fn of(&self, vmid: u64, rack: Option<RackIndex>) -> Option<Fault> {
        self.vms.get(&vmid).or_else(|| self.racks.get(&rack?)).copied()
    }

    /// `None` mends.
    pub(super) fn set_rack(&mut self, rack: RackIndex, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.racks.insert(rack, fault),
            None => self.racks.remove(&rack),
        };
    }

    /// `None` mends.
    pub(super) fn set_vm(&mut self, vmid: u64, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.vms.insert(vmid, fault),
            None => self.vms.remove(&vmid),
        };
    }

    pub(super) fn racks(&self) -> impl Iterator<Item = (RackIndex, Fault)> {
        self.racks.iter().map(|(&rack, &fault)| (rack, fault))
    }

    pub(super) fn vms(&self) -> impl Iterator<Item = (u64, Fault)> {
        self.vms.iter().map(|(&vmid, &fault)| (vmid, fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lottery(seed: u64, shares: &[&str]) -> Result<Lottery<Fault>, TooManyFaults> {
        let shares: Vec<FaultShare> = shares.iter().map(|share| share.parse().unwrap()).collect();
        Lottery::of_requests(Kind::Call, seed, &shares)
    }

    #[test]
    fn every_fault_is_read_as_it_is_written() {
        for (name, fault) in FAULTS {
            assert_eq!((name.parse(), fault.name()), (Ok(fault), name));
        }
        assert_eq!("504".parse(), Ok(Fault::Status(ServerError::GatewayTimeout, When::Before)));
        assert_eq!("refuse".parse::<Fault>(), Err(InvalidFault::Refuse));
        for text in ["", "501", "500-", "hang ", "Hang", "all"] {
            assert_eq!(text.parse::<Fault>(), Err(InvalidFault::Unknown), "{text}");
        }
        assert!(InvalidFault::Unknown.to_string().ends_with("429-past, 429-year"));
    }

    #[test]
    fn these_faults_let_the_call_act_and_these_need_a_success() {
        let names = |wanted: fn(Fault) -> bool| {
            let wanted = FAULTS.iter().filter(|(_, fault)| wanted(*fault));
            wanted.map(|&(name, _)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(Fault::acts),
            "reset-after hang-after stream-reset-after silent-after late 500-after 502-after 503-after 504-after truncated garbage endless 409-upstream-after same-cursor doubled-item moved-item"
        );
        assert_eq!(
            names(Fault::needs_success),
            "truncated garbage endless same-cursor doubled-item moved-item"
        );
        let spares =
            |kind| FAULTS.iter().filter(move |(_, fault)| !fault.befalls(kind)).map(|(name, _)| *name);
        let of_lists = ["same-cursor", "doubled-item", "moved-item"];
        assert!(spares(Kind::Call).eq(of_lists));
        assert!(spares(Kind::Look).eq([&["late-effect"], &of_lists[..]].concat()));
        assert!(spares(Kind::List).eq(["late-effect", "refused-by-api"]));
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

    #[test]
    fn a_defect_lasts_until_it_is_mended_and_a_vms_own_goes_first() {
        let mut world = super::super::World::built_in();
        let racks = ["dc1r27", "dc1r28"].map(|name| world.rack_or_new(name).unwrap());
        let (hang, status) = (Fault::Hang(When::Before), Fault::Status(ServerError::Internal, When::Before));
        let mut defects = Defects::default();
        assert!(defects.is_empty());
        defects.set_rack(racks[0], Some(hang));
        defects.set_vm(7, Some(status));
        for (vmid, rack, expected) in [
            (7, Some(racks[0]), Some(status)),
            (8, Some(racks[0]), Some(hang)),
            (8, Some(racks[1]), None),
            (7, None, Some(status)),
            (8, None, None),
        ] {
            assert_eq!(defects.of(vmid, rack), expected, "{vmid}");
        }
        defects.set_rack(racks[0], None);
        defects.set_vm(7, None);
        assert!(defects.is_empty());
    }
}
