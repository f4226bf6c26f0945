//! The documented API as an HTTP server on loopback, for rehearsals and tests.
//!
//! It answers as `POST /api/vm/{vmid}/routed-ipv6` (v1) and `/api/v2/vps` (v2) are documented to, both from the same
//! world, or goes wrong in the ways it was asked to. It keeps a record of every call under `/_sandbox/`, and never listens anywhere but on a loopback address. Nothing but the `sandbox` command and
//! `--sandbox` may use it.

mod announce;
mod answer;
mod body;
mod clock;
mod cursor;
mod defect;
mod desk;
mod error;
mod fault;
mod http2;
mod journal;
mod json;
mod key;
mod limit;
mod list;
mod listen;
mod lottery;
mod nullable;
mod order;
mod phase;
mod problem;
mod profile;
mod rack;
mod record;
mod respond;
mod route;
mod routed;
mod scope;
mod server;
mod spoil;
mod state;
mod tls;
mod v1;
mod v2;
mod vps;
mod wire;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

pub use error::StartError;
pub use fault::{Conflict, EdgeError, Fault, InvalidFault, Lie, ListFault, ServerError, When};
pub use journal::InvalidState;
pub use key::{InvalidKey, Key, Keys};
pub use limit::{InvalidQuota, Limit, LimitKind, Quota};
pub use lottery::{FaultShare, InvalidFaultShare, InvalidShare, Share, TooManyFaults};
pub use nullable::{NotNullable, Nullable};
pub use phase::{InvalidPhase, Phase};
pub use route::Kind;
pub use scope::{InvalidScope, Scope, Scopes};
pub use server::{Running, Sandbox};
pub use tls::{InvalidTlsFault, TlsError, TlsFault, TlsFaultShare, TlsSettings};
pub use world::{InvalidRack, InvalidVms, InvalidWorld, World};

/// How the server behaves, beyond its [`World`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// A loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    pub keys: Keys,
    /// Between a call's arrival, when it takes effect, and its answer.
    pub latency: Latency,
    /// Of the latencies, request ids and faults.
    pub seed: u64,
    /// How far the clock that it shows is ahead of ours.
    pub clock: SignedDuration,
    pub timestamps: Timestamps,
    pub limit: Option<Limit>,
    pub retry_after: RetryAfter,
    pub rate_limit_headers: RateLimitHeaders,
    pub rate_limit_form: RateLimitForm,
    /// What goes wrong with some of the calls: those with an accepted key, within the limit and well-formed.
    pub faults: Vec<FaultShare>,
    /// Added to the latency of a call that is [`Fault::Late`].
    pub late: Duration,
    /// What goes wrong with each VM's first call.
    pub first_fault: Option<Fault>,
    /// What goes wrong with every call for these racks' VMs.
    pub rack_faults: Vec<(String, Fault)>,
    /// What goes wrong with every call for these VMs, by either dialect's id.
    pub vm_faults: Vec<(String, Fault)>,
    /// What goes wrong with the API as a whole, and when.
    pub phases: Vec<Phase>,
    /// What is null in all of v2's answers.
    pub nulls: Vec<Nullable>,
    /// The file in which allocations outlive the process.
    pub state: Option<PathBuf>,
    /// `None` for plain HTTP.
    pub tls: Option<TlsSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: Keys::Any,
            latency: Latency::NONE,
            seed: 0,
            clock: SignedDuration::ZERO,
            timestamps: Timestamps::Answer,
            limit: None,
            retry_after: RetryAfter::Seconds,
            rate_limit_headers: RateLimitHeaders::On429,
            rate_limit_form: RateLimitForm::XIso,
            faults: vec![],
            late: Duration::from_secs(5),
            first_fault: None,
            rack_faults: vec![],
            vm_faults: vec![],
            phases: vec![],
            nulls: vec![],
            state: None,
            tls: None,
        }
    }
}

/// Which moment an answer's `timestamp` and `Date` name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// That of the answer itself.
    Answer,
    /// That at which the call arrived.
    Arrival,
    /// None: it has neither.
    Never,
}

/// How a 429 says when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    Seconds,
    Date,
    /// Neither a header nor the body's `retryAfter`.
    None,
}

/// Which answers say how the call stands with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitHeaders {
    Never,
    On429,
    Always,
}

/// How answers say how the call stands with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitForm {
    /// `X-RateLimit-*`, its reset as an ISO timestamp: as documented.
    XIso,
    /// `X-RateLimit-*`, its reset in whole seconds since 1970.
    XEpoch,
    /// `X-RateLimit-*`, its reset in whole seconds from now.
    XDelta,
    /// `RateLimit-Policy: "default";q=100;w=1` and `RateLimit: "default";r=50;t=1`, as the IETF drafts it.
    Ietf,
}

/// How long an answer takes: `20ms`, or `10ms..50ms` for any time between, equally likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    least: Duration,
    most: Duration,
}

/// Why a text is not a [`Latency`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a latency such as 20ms or 10ms..50ms")]
pub struct InvalidLatency;

impl Latency {
    pub const NONE: Self = Self { least: Duration::ZERO, most: Duration::ZERO };

    fn draw(self, chance: &mut fastrand::Rng) -> Duration {
        let spread = u64::try_from(self.most.saturating_sub(self.least).as_nanos()).unwrap_or(u64::MAX);
        self.least + Duration::from_nanos(chance.u64(0..=spread))
    }
}

impl FromStr for Latency {
    type Err = InvalidLatency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (duration(least), duration(most)) {
            (Some(least), Some(most)) if least <= most => Ok(Self { least, most }),
            _ => Err(InvalidLatency),
        }
    }
}

/// `20ms`, `1.5s`, `1m30s`: no sign, no white space.
fn duration(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.');
    let duration: SignedDuration = text.parse().ok().filter(|_| plain)?;
    duration.try_into().ok()
}

/// The same, with a sign where it is negative.
pub(crate) fn signed_duration(text: &str) -> Option<SignedDuration> {
    let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
    Some(SignedDuration::try_from(duration(size)?).ok()? * sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_one_duration_or_a_range() {
        let ms = Duration::from_millis;
        for (text, least, most) in [("20ms", 20, 20), ("0s", 0, 0), ("10ms..1.5s", 10, 1_500)] {
            assert_eq!(text.parse(), Ok(Latency { least: ms(least), most: ms(most) }), "{text}");
        }
        for text in ["", "20", "-1s", "1 s", "2s..1s", "..", "1s..", "1s..2s..3s", "1s ago"] {
            assert_eq!(text.parse::<Latency>(), Err(InvalidLatency), "{text}");
        }
    }

    #[test]
    fn a_clock_is_set_by_a_duration_that_may_be_negative() {
        for (text, seconds) in [("5h", 18_000), ("-2s", -2), ("0s", 0), ("-1m30s", -90)] {
            assert_eq!(signed_duration(text), Some(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "-", "--2s", "5", "+2s", "- 2s", "2s ago"] {
            assert_eq!(signed_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_drawn_latency_lies_in_its_range_and_follows_from_the_seed() {
        let latency: Latency = "10ms..12ms".parse().unwrap();
        let draw = |seed| {
            let mut chance = fastrand::Rng::with_seed(seed);
            (0..100).map(|_| latency.draw(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|drawn| (latency.least..=latency.most).contains(drawn)));
    }
}
