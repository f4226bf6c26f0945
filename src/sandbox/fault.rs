//! What can go wrong with one request.
//!
//! What a fault does is for `respond`, `answer`, `spoil` and `desk`; how often it does so is for `lottery`.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

use super::route::Kind;

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

pub(super) const FAULTS: [(&str, Fault); 42] = {
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
    pub(super) fn survivable() -> impl Iterator<Item = Self> {
        let faults = FAULTS.iter().map(|&(_, fault)| fault).filter(|&fault| fault != Self::Lie(Lie::Year));
        faults.filter(|fault| !fault.is_of_http2() && !fault.is_of_clocks() && !fault.is_of_accounts())
    }

    pub(super) fn is_of_accounts(self) -> bool {
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

    pub(super) fn is_of_clocks(self) -> bool {
        matches!(self, Self::LateEffect | Self::Stale | Self::Cached)
    }

    /// How old its answer says that it is.
    pub(super) fn age(self) -> SignedDuration {
        match self {
            Self::Stale | Self::Cached => SignedDuration::from_hours(1),
            _ => SignedDuration::ZERO,
        }
    }

    pub(super) fn is_of_http2(self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
