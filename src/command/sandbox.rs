//! `v6fleet sandbox`: serves the documented API until it is told to stop.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{
    SandboxArgs, TypedLimitKind, TypedRateLimitForm, TypedRateLimitHeaders, TypedRetryAfter, TypedTimestamps,
};
use crate::sandbox::{
    InvalidWorld, Keys, Latency, Limit, LimitKind, Quota, RateLimitForm, RateLimitHeaders, RetryAfter,
    Sandbox, Settings, StartError, Timestamps, TlsSettings, World,
};

/// Why the sandbox did not come up, or did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error("--limit-burst is for --limit-kind token-bucket only")]
    BurstWithoutBucket,
    #[error("cannot read the key file {path}", path = path.display())]
    UnreadableKeys { path: PathBuf, source: io::Error },
    #[error("there is no key in {path}", path = path.display())]
    NoKeys { path: PathBuf },
    #[error(transparent)]
    World(#[from] InvalidWorld),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("cannot say where the sandbox listens")]
    Announce(#[source] io::Error),
    #[error("the sandbox ended badly")]
    End(#[source] io::Error),
}

/// Serves until SIGINT or SIGTERM; says on `stdout` where, once it does.
pub(super) fn serve(args: &SandboxArgs, stdout: &mut dyn Write) -> Result<(), SandboxError> {
    let world = args.world.as_deref().map_or_else(|| Ok(World::built_in()), World::read)?;
    let settings = settings(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(SandboxError::Signals)?;
    let told_to_stop = {
        // Caught from before the line is printed: whoever reads it may send one at once.
        let _inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(SandboxError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(SandboxError::Signals)?;
        async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
    };
    let running = Sandbox::start(settings, world)?;
    let ca_file = running.ca_file().map(|path| format!("CA certificate in {}\n", path.display()));
    write!(stdout, "listening on {}\n{}", running.base_url(), ca_file.unwrap_or_default())
        .and_then(|()| stdout.flush())
        .map_err(SandboxError::Announce)?;
    runtime.block_on(told_to_stop);
    running.stop().map_err(SandboxError::End)
}

fn settings(args: &SandboxArgs) -> Result<Settings, SandboxError> {
    let limit = args.limit.map(|quota| limit(args, quota)).transpose()?;
    let retry_after = match args.retry_after {
        TypedRetryAfter::Seconds => RetryAfter::Seconds,
        TypedRetryAfter::Date => RetryAfter::Date,
        TypedRetryAfter::None => RetryAfter::None,
    };
    let rate_limit_headers = match args.rate_limit_headers {
        TypedRateLimitHeaders::Never => RateLimitHeaders::Never,
        TypedRateLimitHeaders::On429 => RateLimitHeaders::On429,
        TypedRateLimitHeaders::Always => RateLimitHeaders::Always,
    };
    let rate_limit_form = match args.rate_limit_form {
        TypedRateLimitForm::XIso => RateLimitForm::XIso,
        TypedRateLimitForm::XEpoch => RateLimitForm::XEpoch,
        TypedRateLimitForm::XDelta => RateLimitForm::XDelta,
        TypedRateLimitForm::Ietf => RateLimitForm::Ietf,
    };
    let timestamps = match args.timestamps {
        TypedTimestamps::Answer => Timestamps::Answer,
        TypedTimestamps::Arrival => Timestamps::Arrival,
        TypedTimestamps::Never => Timestamps::Never,
    };
    Ok(Settings {
        clock: args.clock,
        timestamps,
        listen: args.listen,
        keys: args.key_file.as_deref().map_or(Ok(Keys::Any), read_keys)?,
        latency: args.latency.unwrap_or(Latency::NONE),
        seed: args.seed,
        limit,
        retry_after,
        rate_limit_headers,
        rate_limit_form,
        faults: args.faults.clone(),
        late: args.late,
        first_fault: args.first_fault,
        rack_faults: args.rack_faults.clone(),
        vm_faults: args.vm_faults.clone(),
        phases: args.phases.clone(),
        state: args.state.clone(),
        tls: args.tls.then(|| TlsSettings {
            ca_file: args.ca_out.clone(),
            faults: args.tls_faults.clone(),
            max_streams: args.max_streams,
        }),
    })
}

fn limit(args: &SandboxArgs, quota: Quota) -> Result<Limit, SandboxError> {
    match (args.limit_kind, args.limit_burst) {
        (TypedLimitKind::TokenBucket, burst) => Ok(Limit::token_bucket(quota, burst)),
        (_, Some(_)) => Err(SandboxError::BurstWithoutBucket),
        (TypedLimitKind::FixedWindow, None) => Ok(Limit::new(quota, LimitKind::FixedWindow)),
        (TypedLimitKind::SlidingWindow, None) => Ok(Limit::new(quota, LimitKind::SlidingWindow)),
    }
}

fn read_keys(path: &Path) -> Result<Keys, SandboxError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SandboxError::UnreadableKeys { path: path.into(), source })?;
    let keys: Vec<SecretString> =
        text.lines().map(str::trim).filter(|key| !key.is_empty()).map(Into::into).collect();
    if keys.is_empty() { Err(SandboxError::NoKeys { path: path.into() }) } else { Ok(Keys::Only(keys)) }
}
