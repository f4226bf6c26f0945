//! What is typed after `v6fleet sandbox`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::sandbox::{Latency, Quota};

/// Serve the documented API on loopback, to rehearse against
///
/// Prints one line, `listening on http://ADDRESS:PORT`, when it is ready, and serves until it is interrupted.
/// Any API key is accepted but `wrong-key`. `GET /_sandbox/calls` and `GET /_sandbox/allocations` show what was
/// called and what came of it; `POST /_sandbox/racks/RACK` with `{"next_hop": "2001:db8::2"}` is a maintenance.
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
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// How long each answer takes, such as 20ms or 10ms..50ms
    #[arg(long, value_name = "DURATION")]
    pub latency: Option<Latency>,

    /// Seed of the random latencies and request ids
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Rate limit, such as 100/s or 100/10s [default: none]
    #[arg(long, value_name = "N/DURATION")]
    pub limit: Option<Quota>,

    /// How the limit counts
    #[arg(long, value_name = "KIND", requires = "limit", default_value = "token-bucket")]
    pub limit_kind: TypedLimitKind,

    /// Calls that a rested token bucket lets through at once [default: those of one second]
    #[arg(long, value_name = "N", requires = "limit")]
    pub limit_burst: Option<NonZeroU32>,

    /// How a 429 says when to come back
    #[arg(long, value_name = "FORM", default_value = "seconds")]
    pub retry_after: TypedRetryAfter,

    /// Which answers carry X-RateLimit-Limit, -Remaining and -Reset
    #[arg(long, value_name = "WHEN", default_value = "on-429")]
    pub rate_limit_headers: TypedRateLimitHeaders,
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

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "not an address and a port such as 127.0.0.1:8646".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("not a loopback address".to_owned()) }
}
