//! What one worker can do whose ledger is in PostgreSQL, beside one whose ledger is in a file: whole runs, report included.

use std::path::Path;
use std::time::Duration;

use support::postgres::Server;
use support::proxy::Proxy;

use crate::ROUNDS;
use crate::arrivals::per_second;
use crate::figure::{Figure, Samples, Target};
use crate::fleet::{Fleet, Order};
use crate::process;

const RACKS: usize = 40;

/// The database on the same machine; nothing else takes any time.
pub(crate) fn throughput(dir: &Path) -> Vec<Figure> {
    let server = server();
    let targets = [Target::AtLeast(0.5), Target::None];
    beside("d", targets, (dir, 50_000, Duration::ZERO), (&server, &server.url()))
}

/// The way to the API and back takes 20 ms, that to the database as well.
pub(crate) fn latency(dir: &Path) -> Vec<Figure> {
    let server = server();
    let far = Proxy::to(&server, Duration::from_millis(10));
    let targets = [Target::AtLeast(0.95); 2];
    beside("e", targets, (dir, 20_000, Duration::from_millis(20)), (&server, &far.url()))
}

fn server() -> Server {
    Server::durable().expect("PostgreSQL is needed")
}

/// Calls a second of first nights, beside those with SQLite in turn: of the whole process, and from the first call to the
/// last.
fn beside(
    case: &'static str,
    [of_all, of_calls]: [Target; 2],
    (dir, vms, latency): (&Path, usize, Duration),
    (server, url): (&Server, &str),
) -> Vec<Figure> {
    let in_file = Fleet::new(dir, vms, RACKS, Order::ById);
    let in_database = Fleet::new(dir, vms, RACKS, Order::ById).kept_in(url);
    let [mut ours, mut sqlite] = [const { [const { Samples::new() }; 2] }; 2];
    for _ in 0..ROUNDS {
        in_file.forget();
        measure(&in_file, latency, &mut sqlite);
        forget(server);
        measure(&in_database, latency, &mut ours);
    }
    let whats = ["whole run", "first call to last"].into_iter().zip([of_all, of_calls]);
    let figure = |((what, target), (ours, theirs))| {
        Figure::beside(case, what, "calls/s", ours, ("SQLite", theirs), target)
    };
    whats.zip(ours.into_iter().zip(sqlite)).map(figure).collect()
}

fn measure(fleet: &Fleet, latency: Duration, [whole, calls]: &mut [Samples; 2]) {
    let (cost, arrivals) = fleet.cost_and_arrivals(latency);
    whole.push(fleet.vms as f64 / cost.wall.as_secs_f64());
    calls.push(per_second(&arrivals));
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
    report.push(process::cost(&mut fleet.report()).peak_mib);
    vec![
        Figure::alone("f", "peak memory, 1,000,000 VMs", "MiB", run, Target::AtMost(64.0)),
        Figure::alone("f", "peak memory of their report", "MiB", report, Target::AtMost(64.0)),
    ]
}
