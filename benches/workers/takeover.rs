//! How long the VMs of a worker that is lost wait for another one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use support::fixture::eventually;

use crate::ROUNDS;
use crate::crew::{Site, Terms};
use crate::figure::{Figure, Samples, Target};

const LEASE: Duration = Duration::from_secs(5);
const TERMS: Terms = Terms { rate: "none", lease: "5s", concurrency: "8" };

/// Long enough that a worker always has calls under way.
const LATENCY: [&str; 2] = ["--latency", "500ms"];

/// Of a worker that is killed, whose end others on its machine see, and of one that is heard of no more, as one is whose
/// machine is lost.
pub(crate) fn takeover(_: &Path) -> Vec<Figure> {
    let target = Target::NeverAbove(LEASE.as_secs_f64() + 5.0);
    let figure = |what, signal| {
        let mut waited = Samples::new();
        (0..ROUNDS).for_each(|_| waited.push(wait(signal)));
        Figure::alone(
            "g",
            format!("lease {} s, {what}, VMs called again", LEASE.as_secs()),
            "s",
            waited,
            target,
        )
    };
    vec![figure("kill -9", "KILL"), figure("stopped", "STOP")]
}

/// Seconds from a signal to one of two workers until the other has called all VMs that the first had claimed.
fn wait(signal: &str) -> f64 {
    let mut site = Site::new(&LATENCY, 2_000);
    let mut crew = site.crew(2, &TERMS);
    site.await_count("SELECT count(DISTINCT worker) FROM v6fleet.progress WHERE outcome IS NOT NULL", 2);
    let lost = crew.remove(0);
    lost.signal(signal);
    let from = Timestamp::now();
    let held = held(&mut site, lost.id());
    assert!(!held.is_empty(), "it had claimed nothing");
    let mut all_called = None;
    eventually("all are called again", || {
        all_called = last_called(&site, &held, from);
        all_called.is_some()
    });
    site.stop();
    all_called.unwrap().duration_since(from).as_secs_f64()
}

/// The VMs that the process of this id has claimed.
fn held(site: &mut Site, process: u32) -> BTreeSet<String> {
    let held = format!(
        "SELECT i.vmid FROM v6fleet.progress p JOIN v6fleet.items i ON i.no = p.item JOIN v6fleet.workers w ON w.no = p.worker
         WHERE w.pid = {process} AND p.claimed_at IS NOT NULL AND p.outcome IS NULL"
    );
    site.fixture.database().sql(&held).lines().map(str::to_owned).collect()
}

/// When the last of these VMs was called for its first time since then; `None` while one has not been.
fn last_called(site: &Site, vms: &BTreeSet<String>, since: Timestamp) -> Option<Timestamp> {
    let calls = site.sandbox.calls();
    let called =
        |vm: &String| calls.iter().find(|call| call.vmid == *vm && call.at > since).map(|call| call.at);
    vms.iter().map(called).collect::<Option<Vec<_>>>()?.into_iter().max()
}
