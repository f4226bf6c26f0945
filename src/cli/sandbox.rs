//! What is typed after `v6fleet sandbox`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::values::{at_least_one, duration};
use crate::sandbox::{
    Fault, FaultShare, InvalidFault, Latency, Nullable, Phase, Quota, TlsFaultShare, signed_duration,
};

/// Serve the documented API on loopback, to rehearse against
///
/// Prints `listening on http://ADDRESS:PORT` when it is ready, and serves until it is interrupted: v1 under `/api/vm`,
/// v2 under `/api/v2/vps`, one world behind both.
/// Any API key is accepted but `wrong-key`. `GET /_sandbox/calls` and `GET /_sandbox/allocations` show what was
/// called and what came of it; `POST /_sandbox/racks/RACK` with `{"next_hop": "2001:db8::2"}` is a maintenance, and
/// `POST /_sandbox/vms/VMID` with `{"reason": "no IPv6 on net0"}` takes routed IPv6 from a VM (`{}` gives it back).
/// Every call can be made to go wrong: see the options under Faults. The record says of each call whether it took
/// effect, what went wrong with it, and whether an answer left.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Loopback address and port; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8646", value_parser = loopback)]
    pub listen: SocketAddr,

    /// World file: racks and the VMs on them [default: a built-in world that knows every VM]
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,

    /// File in which allocations outlive the sandbox
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Accept only the API keys in this file, one a line
    ///
    /// `KEY` may do anything, `KEY read:vm` may look and list, `KEY read:vm write:network` may call as well.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Speak TLS, with HTTP/2 and HTTP/1.1, under a certificate authority made at each start
    ///
    /// A second line, `CA certificate in FILE`, says what to name as --ca-file. The record can be read in plain HTTP
    /// all the same.
    #[arg(long)]
    pub tls: bool,

    /// File to write the authority's certificate to [default: a temporary one]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub ca_out: Option<PathBuf>,

    /// Calls that one HTTP/2 connection takes at once [default: any number]
    #[arg(long, value_name = "N", requires = "tls")]
    pub max_streams: Option<u32>,

    /// How long each answer takes, such as 20ms or 10ms..50ms
    #[arg(long, value_name = "DURATION")]
    pub latency: Option<Latency>,

    /// Seed of the random latencies, request ids and faults
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// How far its clock is ahead, such as 2s or -5h; `POST /_sandbox/clock` with `{"step": "-5s"}` sets it by so much
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = clock)]
    #[arg(allow_hyphen_values = true)]
    pub clock: SignedDuration,

    /// Which moment the answers' `timestamp` and `Date` name
    #[arg(long, value_name = "MOMENT", default_value = "answer")]
    pub timestamps: TypedTimestamps,

    /// Rate limit, such as 100/s or 100/10s [default: none]
    #[arg(long, value_name = "N/DURATION")]
    pub limit: Option<Quota>,

    /// How the limit counts
    #[arg(long, value_name = "KIND", requires = "limit", default_value = "token-bucket")]
    pub limit_kind: TypedLimitKind,

    /// Calls that a rested token bucket lets through at once [default: those of one second]
    #[arg(long, value_name = "N", requires = "limit", value_parser = at_least_one)]
    pub limit_burst: Option<NonZeroU32>,

    /// How a 429 says when to come back
    #[arg(long, value_name = "FORM", default_value = "seconds")]
    pub retry_after: TypedRetryAfter,

    /// Which answers say how the call stands with the limit
    #[arg(long, value_name = "WHEN", default_value = "on-429")]
    pub rate_limit_headers: TypedRateLimitHeaders,

    /// How they say it
    #[arg(long, value_name = "FORM", default_value = "x-iso")]
    pub rate_limit_form: TypedRateLimitForm,

    /// Let a share of the requests go wrong, such as reset-after=10%; repeatable
    ///
    /// Which ones follows from the seed and their order alone. `call:KIND=SHARE` is for what may change something alone,
    /// `look:KIND=SHARE` for v2's GETs of one VM, `list:KIND=SHARE` for pages of its list. KIND is one of
    ///
    /// reset-before, reset-after: the connection is reset without an answer;
    ///
    /// hang, hang-after: no answer ever comes (these need a client with a short timeout);
    ///
    /// late: it acts at once, and the answer comes after --late;
    ///
    /// 500-before, 500-after, and so with 502, 503 and 504;
    ///
    /// html-403, html-502, html-520: HTML from the edge;
    ///
    /// truncated: the answer breaks off in the middle; garbage: 2xx without JSON; endless: 2xx without an end;
    ///
    /// refused-by-api: 200 with "success": false;
    ///
    /// 429-second, 429-zero, 429-negative, 429-fraction, 429-year, 429-past: 429, whatever the rate, with such a
    /// Retry-After;
    ///
    /// stream-reset-before, stream-reset-after: over HTTP/2 the call alone is reset, not the connection with all calls
    /// on it;
    ///
    /// refused-stream: the call is refused unseen, and goaway: that one and later ones on the connection;
    ///
    /// silent-before, silent-after: the connection goes silent for good (these four do over HTTP/1.1 what reset-before
    /// and hang do);
    ///
    /// of clocks: late-effect: it acts after --late, and answers then; stale-503: 503 with times that are an hour old;
    /// cached-502: HTML from the edge's cache, an hour old;
    ///
    /// of accounts: 409-not-ready; 409-upstream-before, 409-upstream-after; 403-inactive;
    ///
    /// of lists: same-cursor: a page leads to itself; doubled-item: a page's last item is the next one's first as well;
    /// moved-item: the same, in another power state;
    ///
    /// all: every kind, evenly, but for those of HTTP/2, clocks, accounts and lists, and 429-year, which no run outlives.
    ///
    /// Calls that are refused for their key, the limit or their form meet no fault. Those with -after, late,
    /// late-effect, truncated, garbage and endless act all the same (the last three only where the answer would be 2xx); the
    /// others do not.
    #[arg(long = "fault", value_name = "KIND=SHARE", help_heading = "Faults")]
    pub faults: Vec<FaultShare>,

    /// Let a share of the connections go wrong before a call, such as handshake-cut=10%; repeatable
    ///
    /// KIND is handshake-cut, alert (`internal_error`), plain-http, expired or wrong-host (the certificate), or
    /// client-certificate (one is demanded).
    #[arg(long = "tls-fault", value_name = "KIND=SHARE", requires = "tls", help_heading = "Faults")]
    pub tls_faults: Vec<TlsFaultShare>,

    /// How much later than the others a late answer comes
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    #[arg(help_heading = "Faults")]
    pub late: Duration,

    /// Let the first call for each VM go wrong, and the next ones not
    #[arg(long, value_name = "KIND", help_heading = "Faults")]
    pub first_fault: Option<Fault>,

    /// Let every call for a rack's VMs go wrong, such as dc1r28=hang; repeatable
    ///
    /// KIND is as for --fault; 504 is short for 504-before, and so on. While the sandbox runs,
    /// `POST /_sandbox/faults` with `{"rack": "dc1r28", "fault": "504"}` sets it, and with `"fault": null` mends it.
    #[arg(long = "rack-fault", value_name = "RACK=KIND", value_parser = rack_fault, help_heading = "Faults")]
    pub rack_faults: Vec<(String, Fault)>,

    /// Let every call for one VM go wrong, such as 10042=500, by either dialect's id; repeatable
    ///
    /// It goes before its rack's. `POST /_sandbox/faults` with `{"vmid": "10042", "fault": null}` mends it.
    #[arg(long = "vm-fault", value_name = "VMID=KIND", value_parser = vm_fault, help_heading = "Faults")]
    pub vm_faults: Vec<(String, Fault)>,

    /// Let the whole API go wrong for a time, such as 10s..40s=down-503; repeatable
    ///
    /// AFTER and UNTIL are durations since the first call, or numbers of calls such as 1000..2000; without UNTIL it
    /// does not end. WHAT is
    ///
    /// down-503: every call is answered 503;
    ///
    /// refuse: connections are refused, and those there are are reset (between durations only; what is refused is
    /// in no record);
    ///
    /// throttle=10s: every call is answered 429, with this wait;
    ///
    /// fail=50%: that share of calls is answered 500 and does not act;
    ///
    /// limit=50/s: this is the rate limit, counted as --limit-kind says.
    ///
    /// Of phases at the same time the worst and the last limit hold.
    #[arg(long = "phase", value_name = "AFTER..UNTIL=WHAT", help_heading = "Faults")]
    pub phases: Vec<Phase>,

    /// Have a field be null in all of v2's answers, such as allocation.nextHop; repeatable
    ///
    /// A world file has it be null for some VMs.
    #[arg(long = "null", value_name = "FIELD", help_heading = "Faults")]
    pub nulls: Vec<Nullable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedTimestamps {
    /// That of the answer
    Answer,
    /// That at which the call arrived
    Arrival,
    /// None: answers have neither
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedLimitKind {
    TokenBucket,
    FixedWindow,
    SlidingWindow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedRetryAfter {
    Seconds,
    Date,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedRateLimitHeaders {
    Never,
    #[value(name = "on-429")]
    On429,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TypedRateLimitForm {
    /// X-RateLimit-Limit, -Remaining and -Reset, the last as an ISO timestamp
    XIso,
    /// The same, the last in seconds since 1970
    XEpoch,
    /// The same, the last in seconds from now
    XDelta,
    /// RateLimit and RateLimit-Policy, as the IETF drafts them
    Ietf,
}

fn rack_fault(text: &str) -> Result<(String, Fault), String> {
    let (rack, fault) = text.rsplit_once('=').ok_or("not a rack and a fault such as dc1r28=hang")?;
    fault.parse().map(|fault| (rack.to_owned(), fault)).map_err(|error: InvalidFault| error.to_string())
}

fn vm_fault(text: &str) -> Result<(String, Fault), String> {
    let (vmid, fault) = text.split_once('=').ok_or("not a VM id and a fault such as 10042=500")?;
    fault.parse().map(|fault| (vmid.to_owned(), fault)).map_err(|error: InvalidFault| error.to_string())
}

fn clock(text: &str) -> Result<SignedDuration, &'static str> {
    signed_duration(text).ok_or("not a duration such as 2s or -5h")
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "not an address and a port such as 127.0.0.1:8646".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("not a loopback address".to_owned()) }
}
