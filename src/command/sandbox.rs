//! `v6fleet sandbox`: serves the documented API until it is told to stop.

use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::descriptors::make_room;
use super::exit;
use super::failure::{Broken, Refusal};
use super::rehearsal::world;
use super::stdout::Stdout;
use crate::config::SandboxSettings;
use crate::sandbox::{InvalidKey, Key, Keys, Running, Sandbox, Settings};

/// The API, which listens already, and heeds signals.
pub(super) struct Prepared {
    running: Running,
    runtime: Runtime,
    stopped: Pin<Box<dyn Future<Output = ()>>>,
}

pub(super) fn prepare(settings: SandboxSettings) -> Result<Prepared, Refusal> {
    make_room(1, false)?;
    let world = world(settings.world.as_deref())?;
    let keys = settings.key_file.as_deref().map_or(Ok(Keys::Any), read_keys)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(unheeded)?;
    // Caught from before it listens: whoever reaches it may send one at once.
    let stopped = {
        let _inside = runtime.enter();
        Box::pin(stopped().map_err(unheeded)?)
    };
    let running = Sandbox::start(Settings { keys, ..settings.server }, world).map_err(Refusal::usage)?;
    Ok(Prepared { running, runtime, stopped })
}

impl Prepared {
    /// Says on standard output where it listens, and serves until SIGINT or SIGTERM.
    pub(super) fn carry_out(self) -> Result<u8, Broken> {
        let Self { running, runtime, stopped } = self;
        announce(&running).map_err(|error| broken(error, "cannot say where the sandbox listens"))?;
        runtime.block_on(stopped);
        running.stop().map_err(|error| broken(error, "the sandbox ended badly"))?;
        Ok(exit::COMPLETE)
    }
}

fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}

fn announce(running: &Running) -> io::Result<()> {
    let mut stdout = Stdout::lock();
    writeln!(stdout, "listening on {}", running.base_url())?;
    if let Some(ca_file) = running.ca_file() {
        writeln!(stdout, "CA certificate in {}", ca_file.display())?;
    }
    stdout.flush()
}

fn unheeded(error: io::Error) -> Refusal {
    Refusal::usage(anyhow::Error::new(error).context("cannot wait for signals"))
}

fn broken(error: io::Error, what: &'static str) -> Broken {
    Broken::new(anyhow::Error::new(error).context(what))
}

fn read_keys(path: &Path) -> Result<Keys, Refusal> {
    let named = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Refusal::usage(anyhow::Error::new(error).context(format!("cannot read the key file {named}")))
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let key = |(index, line): (usize, &str)| {
        let invalid = |error| anyhow::Error::new(error).context(format!("{named}:{}", index + 1));
        line.parse().map_err(|error: InvalidKey| Refusal::usage(invalid(error)))
    };
    let keys: Vec<Key> = lines.map(key).collect::<Result<_, _>>()?;
    match keys.is_empty() {
        true => Err(Refusal::usage(anyhow::anyhow!("there is no key in {named}"))),
        false => Ok(Keys::Only(keys)),
    }
}
