//! The other cases: what a run needs of memory and time where calls are not what it is about, and how it keeps to a rate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::arrivals::{most_within, per_second};
use crate::figure::{Figure, Samples, Target};
use crate::fleet::{Fleet, Ids, Order, v6fleet};
use crate::nights::ROUNDS;
use crate::process::cost;
use crate::yardstick;

/// Of fleets of any size.
const RACKS: usize = 1_000;

/// 1,000,000 VMs: what a run needs must not grow with the fleet. And their report, from the ledger alone.
pub(crate) fn million(dir: &Path) -> Vec<Figure> {
    let [mut ours, mut dump, mut peak, mut peak_small, mut peak_report] = [const { Samples::new() }; 5];
    let small = Fleet::new(dir, 100_000, RACKS, Order::ById);
    small.forget();
    peak_small.push(small.cost(Duration::ZERO).peak_mib);
    let fleet = Fleet::new(dir, 1_000_000, RACKS, Order::ById);
    peak.push(fleet.cost(Duration::ZERO).peak_mib);
    let database = yardstick::has("sqlite3").then(|| yardstick::sqlite_database(&fleet.report, dir));
    for _ in 0..ROUNDS {
        let cost = cost(&mut fleet.report());
        ours.push(cost.wall.as_secs_f64());
        peak_report.push(cost.peak_mib);
        if let Some(database) = &database {
            dump.push(self::cost(&mut yardstick::sqlite_dump(database)).wall.as_secs_f64());
        }
    }
    let mut growth = Samples::new();
    growth.push(peak.median() - peak_small.median());
    vec![
        Figure::alone("c", "peak memory, 1,000,000 VMs", "MiB", peak, Target::AtMost(48.0)),
        Figure::alone("c", "that beyond 100,000 VMs", "MiB", growth, Target::AtMost(8.0)),
        timed("CSV report, 1,000,000 rows", ours, ("sqlite3 -csv", dump), Target::AtMost(1.4)),
        Figure::alone("f", "peak memory of that report", "MiB", peak_report, Target::AtMost(48.0)),
    ]
}

/// A time, beside that of a yardstick where it could be taken.
fn timed(what: &str, ours: Samples, yardstick: (&'static str, Samples), target: Target) -> Figure {
    match yardstick.1.is_empty() {
        true => Figure::alone("f", what, "s", ours, Target::None),
        false => Figure::beside("f", what, "s", ours, yardstick, target),
    }
}

/// `--rate` as the server sees it.
pub(crate) fn rate_as_seen(dir: &Path) -> Vec<Figure> {
    [
        (200, "200/s", "--rate 200/s, mean", "--rate 200/s, worst second"),
        (1_000, "1000/s", "--rate 1000/s, mean", "--rate 1000/s, worst second"),
        (5_000, "5000/s", "--rate 5000/s, mean", "--rate 5000/s, worst second"),
    ]
    .into_iter()
    .flat_map(|(calls, rate, mean_of, worst_of)| {
        let (mean, worst) = exactness(dir, calls, rate);
        [
            Figure::alone("d", mean_of, "of it", mean, Target::Within(0.01)),
            Figure::alone("d", worst_of, "of it", worst, Target::AtMost(1.03)),
        ]
    })
    .collect()
}

/// The mean and the worst second of some seconds at a rate, to that rate.
fn exactness(dir: &Path, calls: usize, rate: &str) -> (Samples, Samples) {
    const SECONDS: usize = 5;
    let (fleet, of) = (Fleet::new(dir, calls * SECONDS, 40, Order::ById), calls as f64);
    let [mut mean, mut worst] = [const { Samples::new() }; 2];
    for _ in 0..ROUNDS {
        fleet.forget();
        let server = fleet.answerer(Duration::ZERO);
        cost(&mut fleet.run(&server, rate));
        let arrivals = server.stop();
        mean.push(per_second(&arrivals) / of);
        worst.push(most_within(Duration::from_secs(1), &arrivals) as f64 / of);
    }
    (mean, worst)
}

/// What it takes to start: nothing to do, and one call.
pub(crate) fn start(dir: &Path) -> Vec<Figure> {
    const STARTS: usize = 51;
    let wall = |command: &mut Command| cost(command).wall.as_secs_f64() * 1e3;
    let on_disk = Fleet::new(dir, 1, 1, Order::ById);
    let server = on_disk.answerer(Duration::ZERO);
    let memory = yardstick::memory_disk().map(|disk| tempfile::tempdir_in(disk).unwrap());
    let in_memory = Fleet::new(memory.as_ref().map_or(dir, |dir| dir.path()), 1, 1, Order::ById);
    let [mut version, mut nothing, mut one, mut synced, mut curl] = [const { Samples::new() }; 5];
    for _ in 0..STARTS {
        in_memory.forget();
        on_disk.forget();
        version.push(wall(v6fleet().arg("--version")));
        nothing.push(wall(&mut Command::new("/bin/true")));
        one.push(wall(&mut in_memory.run(&server, "none")));
        curl.push(wall(&mut yardstick::curl(server.address())));
        synced.push(wall(&mut on_disk.run(&server, "none")));
    }
    server.stop();
    let beside = |what, ours, yardstick, target| Figure::beside("e", what, "ms", ours, yardstick, target);
    vec![
        beside("--version", version, ("/bin/true", nothing), Target::AtMost(3.0)),
        beside("run of one VM, ledger in memory", one, ("curl", curl.clone()), Target::AtMost(3.0)),
        beside("run of one VM, with every fsync", synced, ("curl", curl), Target::AtMost(1.6)),
    ]
}

/// Check and selection of 1,000,000 rows, without a call.
pub(crate) fn inventory(dir: &Path) -> Vec<Figure> {
    [(Order::ById, "check and select 1,000,000 rows"), (Order::Mixed, "the same, not sorted by id")]
        .into_iter()
        .map(|(order, what)| {
            let fleet = Fleet::new(dir, 1_000_000, RACKS, order);
            let [mut ours, mut import] = [const { Samples::new() }; 2];
            for _ in 0..ROUNDS {
                ours.push(cost(&mut fleet.dry_run()).wall.as_secs_f64());
                if yardstick::has("sqlite3") {
                    import.push(cost(&mut yardstick::sqlite_import(&fleet.inventory)).wall.as_secs_f64());
                }
            }
            timed(what, ours, ("sqlite3 .import", import), Target::AtMost(1.0))
        })
        .collect()
}

/// Check and selection of 100,000 ids of v2, beside as many of v1.
pub(crate) fn ids(dir: &Path) -> Vec<Figure> {
    let fleets = [Ids::V1, Ids::V2].map(|ids| Fleet::called(ids, dir, 100_000, RACKS, Order::ById));
    vec![
        of_v2("check and select 100,000 ids of v2", &fleets, Fleet::dry_run),
        of_v2("the same, each selected by its id", &fleets, Fleet::dry_run_by_ids),
    ]
}

/// How long the second fleet takes, beside the first.
fn of_v2(what: &str, fleets: &[Fleet; 2], command: fn(&Fleet) -> Command) -> Figure {
    let [mut v1, mut v2] = [const { Samples::new() }; 2];
    for _ in 0..3 * ROUNDS {
        let [of_v1, of_v2] = fleets.each_ref().map(|fleet| cost(&mut command(fleet)).wall.as_secs_f64());
        v1.push(of_v1);
        v2.push(of_v2);
    }
    Figure::beside("j", what, "s", v2, ("as many of v1", v1), Target::AtMost(1.3))
}
