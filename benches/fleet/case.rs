//! The cases: what is run, beside which yardstick, and what has to come of it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::answerer::Answerer;
use crate::figure::{Figure, Samples, Target};
use crate::fleet::{Fleet, Order, v6fleet};
use crate::process::{Cost, cost};
use crate::yardstick;

/// How often each figure is measured.
pub(crate) const ROUNDS: usize = 5;

/// The latency of the case that has some.
const LATENCY: Duration = Duration::from_millis(20);

/// Calls a second that a run came to.
fn rate(fleet: &Fleet, cost: Cost) -> f64 {
    fleet.vms as f64 / cost.wall.as_secs_f64()
}

/// CPU milliseconds for each 1,000 calls.
fn cpu(fleet: &Fleet, cost: Cost) -> f64 {
    cost.cpu.as_secs_f64() * 1e3 / (fleet.vms as f64 / 1e3)
}

/// What a raw client makes of the server, by each tool that is there.
struct Raw(Vec<(&'static str, Target, Samples)>);

impl Raw {
    fn new(wrk: Target, h2load: Target) -> Self {
        let mut tools = Vec::new();
        for (tool, target) in [("wrk", wrk), ("h2load", h2load)] {
            match yardstick::has(tool) {
                true => tools.push((tool, target, Samples::new())),
                false => eprintln!("{tool} is not installed: a client of our own tells the limit"),
            }
        }
        if tools.len() < 2 {
            tools.push(("raw client", Target::None, Samples::new()));
        }
        Self(tools)
    }

    fn measure(&mut self, latency: Duration, dir: &Path, calls: usize) {
        for (tool, _, samples) in &mut self.0 {
            let server = Answerer::start(latency);
            samples.push(match *tool {
                "wrk" => yardstick::wrk(server.address(), dir),
                "h2load" => yardstick::h2load(server.address(), dir, calls),
                _ => yardstick::raw(server.address(), calls),
            });
            server.stop();
        }
    }

    fn figures(self, case: &'static str, ours: &Samples) -> impl Iterator<Item = Figure> {
        self.0.into_iter().map(move |(tool, target, theirs)| Figure {
            case,
            what: "throughput",
            unit: "calls/s",
            ours: ours.clone(),
            yardstick: Some((tool, theirs)),
            target,
        })
    }
}

/// 100,000 VMs, no latency, no rate: the whole job.
pub(crate) fn throughput(dir: &Path) -> Vec<Figure> {
    const CURLED: usize = 20_000;
    let fleet = Fleet::new(dir, 100_000, Order::ById);
    let mut raw = Raw::new(Target::AtLeast(0.19), Target::AtLeast(0.24));
    let [mut ours, mut cpu_ms, mut peak, mut curl] = [const { Samples::new() }; 4];
    let curl_is_there = yardstick::has("curl") && yardstick::has("jq");
    for _ in 0..ROUNDS {
        let cost = fleet.cost(Answerer::start(Duration::ZERO));
        ours.push(rate(&fleet, cost));
        cpu_ms.push(cpu(&fleet, cost));
        peak.push(cost.peak_mib);
        raw.measure(Duration::ZERO, dir, 100_000);
        if curl_is_there {
            let server = Answerer::start(Duration::ZERO);
            curl.push(yardstick::curl_into_jq(server.address(), dir, CURLED));
            server.stop();
        }
    }
    let mut figures: Vec<Figure> = raw.figures("a", &ours).collect();
    if curl_is_there {
        let yardstick = Some(("curl and jq", curl));
        let target = Target::AtLeast(1.6);
        figures.push(Figure { case: "a", what: "throughput", unit: "calls/s", ours, yardstick, target });
    }
    figures.push(alone("g", "CPU for 1,000 calls, no latency", "ms", cpu_ms, Target::None));
    figures.push(alone("c", "peak memory, 100,000 VMs", "MiB", peak, Target::AtMost(48.0)));
    figures
}

/// A figure that is judged by itself.
fn alone(
    case: &'static str,
    what: &'static str,
    unit: &'static str,
    ours: Samples,
    target: Target,
) -> Figure {
    Figure { case, what, unit, ours, yardstick: None, target }
}

/// 20 ms of latency, where the slots bind.
pub(crate) fn latency(dir: &Path) -> Vec<Figure> {
    let fleet = Fleet::new(dir, 20_000, Order::ById);
    let mut raw = Raw::new(Target::None, Target::AtLeast(0.98));
    let [mut ours, mut cpu_ms] = [const { Samples::new() }; 2];
    for _ in 0..ROUNDS {
        let cost = fleet.cost(Answerer::start(LATENCY));
        ours.push(rate(&fleet, cost));
        cpu_ms.push(cpu(&fleet, cost));
        raw.measure(LATENCY, dir, 20_000);
    }
    let mut figures: Vec<Figure> = raw.figures("b", &ours).collect();
    figures.push(alone("g", "CPU for 1,000 calls, 20 ms", "ms", cpu_ms, Target::AtMost(30.0)));
    figures
}

/// 1,000,000 VMs: what a run needs must not grow with the fleet. And their report, from the ledger alone.
pub(crate) fn million(dir: &Path) -> Vec<Figure> {
    let [mut ours, mut dump, mut peak, mut peak_small, mut peak_report] = [const { Samples::new() }; 5];
    let small = Fleet::new(dir, 100_000, Order::ById);
    peak_small.push(small.cost(Answerer::start(Duration::ZERO)).peak_mib);
    let fleet = Fleet::new(dir, 1_000_000, Order::ById);
    peak.push(fleet.cost(Answerer::start(Duration::ZERO)).peak_mib);
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
        alone("c", "peak memory, 1,000,000 VMs", "MiB", peak, Target::AtMost(48.0)),
        alone("c", "that beyond 100,000 VMs", "MiB", growth, Target::AtMost(8.0)),
        timed("f", "CSV report, 1,000,000 rows", ours, "sqlite3 -csv", dump, Target::AtMost(1.5)),
        alone("f", "peak memory of that report", "MiB", peak_report, Target::AtMost(48.0)),
    ]
}

/// A time, beside that of a yardstick where it could be taken.
fn timed(
    case: &'static str,
    what: &'static str,
    ours: Samples,
    name: &'static str,
    theirs: Samples,
    target: Target,
) -> Figure {
    match theirs.is_empty() {
        true => alone(case, what, "s", ours, Target::None),
        false => Figure { case, what, unit: "s", ours, yardstick: Some((name, theirs)), target },
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
    .flat_map(|(per_second, rate, mean_of, worst_of)| {
        let (mean, worst) = exactness(dir, per_second, rate);
        [
            alone("d", mean_of, "of it", mean, Target::Within(0.01)),
            alone("d", worst_of, "of it", worst, Target::AtMost(1.03)),
        ]
    })
    .collect()
}

/// The mean and the worst second of some seconds at a rate, to that rate.
fn exactness(dir: &Path, per_second: usize, rate: &str) -> (Samples, Samples) {
    const SECONDS: usize = 5;
    let fleet = Fleet::new(dir, per_second * SECONDS, Order::ById);
    let [mut mean, mut worst] = [const { Samples::new() }; 2];
    for _ in 0..ROUNDS {
        let server = Answerer::start(Duration::ZERO);
        cost(&mut fleet.run(&server, rate));
        let arrivals = server.stop();
        let lasted = arrivals[arrivals.len() - 1].duration_since(arrivals[0]).as_secs_f64();
        mean.push((arrivals.len() - 1) as f64 / lasted / per_second as f64);
        worst.push(most_in_a_second(&arrivals) as f64 / per_second as f64);
    }
    (mean, worst)
}

fn most_in_a_second(arrivals: &[Instant]) -> usize {
    let mut first = 0;
    let within = arrivals.iter().enumerate().map(|(last, at)| {
        while at.duration_since(arrivals[first]) >= Duration::from_secs(1) {
            first += 1;
        }
        last + 1 - first
    });
    within.max().unwrap_or_default()
}

/// What it takes to start: nothing to do, and one call.
pub(crate) fn start(dir: &Path) -> Vec<Figure> {
    const STARTS: usize = 51;
    let wall = |command: &mut Command| cost(command).wall.as_secs_f64() * 1e3;
    let server = Answerer::start(Duration::ZERO);
    let on_disk = Fleet::new(dir, 1, Order::ById);
    let memory = yardstick::memory_disk().map(|disk| tempfile::tempdir_in(disk).unwrap());
    let in_memory = Fleet::new(memory.as_ref().map_or(dir, |dir| dir.path()), 1, Order::ById);
    let [mut version, mut nothing, mut one, mut synced, mut curl] = [const { Samples::new() }; 5];
    for _ in 0..STARTS {
        version.push(wall(v6fleet().arg("--version")));
        nothing.push(wall(&mut Command::new("/bin/true")));
        one.push(wall(&mut in_memory.run(&server, "none")));
        curl.push(wall(&mut yardstick::curl(server.address())));
        synced.push(wall(&mut on_disk.run(&server, "none")));
    }
    server.stop();
    let beside = |what, ours, name, theirs, target| Figure {
        case: "e",
        what,
        unit: "ms",
        ours,
        yardstick: Some((name, theirs)),
        target,
    };
    vec![
        beside("--version", version, "/bin/true", nothing, Target::AtMost(3.0)),
        beside("run of one VM, ledger in memory", one, "curl", curl.clone(), Target::AtMost(3.0)),
        beside("run of one VM, with every fsync", synced, "curl", curl, Target::None),
    ]
}

/// Check and selection of 1,000,000 rows, without a call.
pub(crate) fn inventory(dir: &Path) -> Vec<Figure> {
    [(Order::ById, "check and select 1,000,000 rows"), (Order::Mixed, "the same, not sorted by id")]
        .into_iter()
        .map(|(order, what)| {
            let fleet = Fleet::new(dir, 1_000_000, order);
            let [mut ours, mut import] = [const { Samples::new() }; 2];
            for _ in 0..ROUNDS {
                ours.push(cost(&mut fleet.dry_run()).wall.as_secs_f64());
                if yardstick::has("sqlite3") {
                    import.push(cost(&mut yardstick::sqlite_import(&fleet.inventory)).wall.as_secs_f64());
                }
            }
            timed("f", what, ours, "sqlite3 .import", import, Target::AtMost(1.0))
        })
        .collect()
}
