//! `v6fleet sandbox`.

use std::path::PathBuf;

use super::error::ConfigError;
use crate::cli::{
    SandboxArgs, TypedLimitKind, TypedRateLimitForm, TypedRateLimitHeaders, TypedRetryAfter, TypedTimestamps,
};
use crate::sandbox::{
    Keys, Latency, Limit, LimitKind, Quota, RateLimitForm, RateLimitHeaders, RetryAfter, Settings,
    Timestamps, TlsSettings,
};

#[derive(Debug)]
pub(crate) struct SandboxSettings {
    /// World file; without one the built-in world.
    pub(crate) world: Option<PathBuf>,
    /// The file of the keys that are accepted; without one any is.
    pub(crate) key_file: Option<PathBuf>,
    /// All the rest: any key is accepted.
    pub(crate) server: Settings,
}

impl SandboxSettings {
    pub(super) fn of(typed: SandboxArgs) -> Result<Self, ConfigError> {
        let limit = typed.limit.map(|quota| limit(&typed, quota)).transpose()?;
        let tls =
            TlsSettings { ca_file: typed.ca_out, faults: typed.tls_faults, max_streams: typed.max_streams };
        let server = Settings {
            clock: typed.clock,
            timestamps: timestamps(typed.timestamps),
            listen: typed.listen,
            keys: Keys::Any,
            latency: typed.latency.unwrap_or(Latency::NONE),
            seed: typed.seed,
            limit,
            retry_after: retry_after(typed.retry_after),
            rate_limit_headers: rate_limit_headers(typed.rate_limit_headers),
            rate_limit_form: rate_limit_form(typed.rate_limit_form),
            faults: typed.faults,
            late: typed.late,
            first_fault: typed.first_fault,
            rack_faults: typed.rack_faults,
            vm_faults: typed.vm_faults,
            phases: typed.phases,
            nulls: typed.nulls,
            state: typed.state,
            tls: typed.tls.then_some(tls),
        };
        Ok(Self { world: typed.world, key_file: typed.key_file, server })
    }
}

fn limit(typed: &SandboxArgs, quota: Quota) -> Result<Limit, ConfigError> {
    match (typed.limit_kind, typed.limit_burst) {
        (TypedLimitKind::TokenBucket, burst) => Ok(Limit::token_bucket(quota, burst)),
        (_, Some(_)) => Err(ConfigError::BurstWithoutBucket),
        (TypedLimitKind::FixedWindow, None) => Ok(Limit::new(quota, LimitKind::FixedWindow)),
        (TypedLimitKind::SlidingWindow, None) => Ok(Limit::new(quota, LimitKind::SlidingWindow)),
    }
}

fn retry_after(typed: TypedRetryAfter) -> RetryAfter {
    match typed {
        TypedRetryAfter::Seconds => RetryAfter::Seconds,
        TypedRetryAfter::Date => RetryAfter::Date,
        TypedRetryAfter::None => RetryAfter::None,
    }
}

fn rate_limit_headers(typed: TypedRateLimitHeaders) -> RateLimitHeaders {
    match typed {
        TypedRateLimitHeaders::Never => RateLimitHeaders::Never,
        TypedRateLimitHeaders::On429 => RateLimitHeaders::On429,
        TypedRateLimitHeaders::Always => RateLimitHeaders::Always,
    }
}

fn rate_limit_form(typed: TypedRateLimitForm) -> RateLimitForm {
    match typed {
        TypedRateLimitForm::XIso => RateLimitForm::XIso,
        TypedRateLimitForm::XEpoch => RateLimitForm::XEpoch,
        TypedRateLimitForm::XDelta => RateLimitForm::XDelta,
        TypedRateLimitForm::Ietf => RateLimitForm::Ietf,
    }
}

fn timestamps(typed: TypedTimestamps) -> Timestamps {
    match typed {
        TypedTimestamps::Answer => Timestamps::Answer,
        TypedTimestamps::Arrival => Timestamps::Arrival,
        TypedTimestamps::Never => Timestamps::Never,
    }
}
