//! The signals that end a run, from its first call to the end of the process.
//!
//! The first one is the run's to heed, and while the rest is written nothing more is left to stop. The second one ends the
//! process, whatever it is busy with then: the ledger is as a crash would leave it.

use std::fs;
use std::future::pending;
use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::stop::Stop;

/// What a run that still calls is given to leave by itself, with what it knows in the ledger.
const GRACE: Duration = Duration::from_millis(500);

/// Every signal from now on, as long as the receiver is there to hear of it.
pub(super) fn signals() -> io::Result<mpsc::UnboundedReceiver<Stop>> {
    // The run's own runtime ends with its calls.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let within = runtime.enter();
    let sources = Sources {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
    };
    drop(within);
    let (heed, signals) = mpsc::unbounded_channel();
    let watch = move || runtime.block_on(watch(sources, heed));
    thread::Builder::new().name("signals".into()).spawn(watch)?;
    Ok(signals)
}

struct Sources {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Sources {
    async fn next(&mut self) -> Stop {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
            _ = hangup => Stop::Terminated,
        }
    }
}

async fn watch(mut sources: Sources, heed: mpsc::UnboundedSender<Stop>) {
    let first = sources.next().await;
    if heed.send(first).is_err() {
        info!("the calls are over, and what came of them is being written; stop again to leave at once");
    }
    let second = sources.next().await;
    if heed.send(second).is_ok() {
        tokio::time::sleep(GRACE).await;
    }
    leave(second);
}

#[expect(clippy::exit, reason = "whatever the other threads wait for may never come")]
fn leave(stop: Stop) {
    std::process::exit(stop.exit_code().into());
}

/// Whoever starts us with `nohup` means it.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
