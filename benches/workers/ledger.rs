//! What one worker can do whose ledger is in PostgreSQL, beside one whose ledger is in a file: whole runs, report included.

use std::path::Path;
use std::time::Duration;

use support::postgres::Server;
use support::proxy::Proxy;

use crate::ROUNDS;
use crate::figure::{Figure, Samples, Target};
use crate::fleet::{Fleet, Order};
use crate::process::Cost;

const RACKS: usize = 40;

/// The database on the same machine; nothing else takes any time.
pub(crate) fn throughput(dir: &Path) -> Vec<Figure> {
    let server = server();
    let figure = beside("d", "throughput", (dir, 50_000, Duration::ZERO), (&server, &server.url()));
    vec![Figure { target: Target::AtLeast(0.5), ..figure }]
}

/// The way to the API and back takes 20 ms, that to the database as well.
pub(crate) fn latency(dir: &Path) -> Vec<Figure> {
    let server = server();
    let far = Proxy::to(&server, Duration::from_millis(10));
    let figure = beside("e", "20 ms away", (dir, 20_000, Duration::from_millis(20)), (&server, &far.url()));
    vec![Figure { target: Target::AtLeast(0.95), ..figure }]
}

fn server() -> Server {
    Server::durable().expect("PostgreSQL is needed")
}

/// Calls a second of whole first nights, beside those with SQLite in turn.
fn beside(
    case: &'static str,
    what: &str,
    (dir, vms, latency): (&Path, usize, Duration),
    (server, url): (&Server, &str),
) -> Figure {
    let in_file = Fleet::new(dir, vms, RACKS, Order::ById);
    let in_database = Fleet::new(dir, vms, RACKS, Order::ById).kept_in(url);
    let [mut ours, mut sqlite] = [const { Samples::new() }; 2];
    let rate = |cost: Cost| vms as f64 / cost.wall.as_secs_f64();
    for _ in 0..ROUNDS {
        in_file.forget();
        sqlite.push(rate(in_file.cost(latency)));
        forget(server);
        ours.push(rate(in_database.cost(latency)));
    }
    Figure::beside(case, what, "calls/s", ours, ("SQLite", sqlite), Target::None)
}

/// Lets the next run be the first.
fn forget(server: &Server) {
    server.sql("DROP SCHEMA IF EXISTS v6fleet CASCADE");
}

/// A whole run of 1,000,000 VMs, and their report once more: what a worker needs must not grow with the fleet.
pub(crate) fn million(dir: &Path) -> Vec<Figure> {
    let server = server();
    let fleet = Fleet::new(dir, 1_000_000, 1_000, Order::ById).kept_in(&server.url());
    let [mut run, mut report] = [const { Samples::new() }; 2];
    run.push(fleet.cost(Duration::ZERO).peak_mib);
    report.push(crate::process::cost(&mut fleet.report()).peak_mib);
    vec![
        Figure::alone("f", "peak memory, 1,000,000 VMs", "MiB", run, Target::AtMost(64.0)),
        Figure::alone("f", "peak memory of their report", "MiB", report, Target::AtMost(64.0)),
    ]
}
