//! Whole runs over a fleet: its first night, and those after it, when every VM is known and nothing changes.

use std::path::Path;
use std::time::Duration;

use crate::bare;
use crate::figure::{Figure, Samples, Target};
use crate::fleet::{Fleet, Order};
use crate::process::{self, Cost};
use crate::yardstick;

/// How often each figure is measured.
pub(crate) const ROUNDS: usize = 5;

/// The latency of the case that has some.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// Racks of a fleet. With many of them, VMs are called in another order than the inventory's: from each rack in turn.
type Racks = (usize, &'static str);

const ONE: Racks = (1, "1 rack");
const FORTY: Racks = (40, "40 racks");
const THOUSAND: Racks = (1_000, "1,000 racks");
const TEN_THOUSAND: Racks = (10_000, "10,000 racks");

/// What the runs of some nights cost.
struct Costs {
    /// Calls a second.
    rate: Samples,
    /// Microseconds a call.
    cpu: Samples,
    /// KB written a VM.
    written: Samples,
    peak_mib: Samples,
}

impl Costs {
    fn new() -> Self {
        let [rate, cpu, written, peak_mib] = [const { Samples::new() }; 4];
        Self { rate, cpu, written, peak_mib }
    }

    fn push(&mut self, calls: usize, cost: Cost) {
        let calls = calls as f64;
        self.rate.push(calls / cost.wall.as_secs_f64());
        self.cpu.push(cost.cpu.as_secs_f64() * 1e6 / calls);
        self.written.push(cost.written as f64 / 1e3 / calls);
        self.peak_mib.push(cost.peak_mib);
    }
}

/// A fleet's first two nights.
struct Nights {
    fleet: Fleet,
    racks: &'static str,
    first: Costs,
    second: Costs,
}

impl Nights {
    fn new(dir: &Path, vms: usize, (racks, name): Racks) -> Self {
        let fleet = Fleet::new(dir, vms, racks, Order::ById);
        Self { fleet, racks: name, first: Costs::new(), second: Costs::new() }
    }

    fn measure(&mut self, latency: Duration) {
        self.fleet.forget();
        for night in [&mut self.first, &mut self.second] {
            let cost = self.fleet.cost(latency);
            assert_ne!(cost.written, 0, "this file system keeps no account of what is written");
            night.push(self.fleet.vms, cost);
        }
    }

    fn throughput(&self, case: &'static str, yardstick: (&'static str, &Samples), target: Target) -> Figure {
        let what = format!("throughput, {}", self.racks);
        let (name, theirs) = (yardstick.0, yardstick.1.clone());
        Figure::beside(case, what, "calls/s", self.first.rate.clone(), (name, theirs), target)
    }

    fn second_throughput(&self, case: &'static str, target: Target) -> Figure {
        let what = format!("throughput, {}, second night", self.racks);
        let first = ("first night", self.first.rate.clone());
        Figure::beside(case, what, "calls/s", self.second.rate.clone(), first, target)
    }

    fn written(&self, case: &'static str, [first, second]: [Target; 2]) -> [Figure; 2] {
        let what = format!("written a VM, {}", self.racks);
        let again = format!("{what}, second night");
        [
            Figure::alone(case, what, "KB", self.first.written.clone(), first),
            Figure::alone(case, again, "KB", self.second.written.clone(), second),
        ]
    }

    fn cpu(&self, latency: &str, bare: &Samples) -> [Figure; 2] {
        let what = format!("CPU, {latency}, {}", self.racks);
        let again = format!("{what}, second night");
        [(what, &self.first.cpu), (again, &self.second.cpu)].map(|(what, ours)| {
            let yardstick = ("bare client", bare.clone());
            Figure::beside("g", what, "µs a call", ours.clone(), yardstick, Target::None)
        })
    }
}

/// What others make of the same calls: the bare client, and tools that only send and receive, where they are installed.
struct Others {
    bare: Costs,
    tools: Vec<(&'static str, Samples)>,
}

impl Others {
    fn new() -> Self {
        let is_there = |tool: &&str| {
            let is_there = yardstick::has(tool);
            if !is_there {
                eprintln!("{tool} is not installed: its figures are left out");
            }
            is_there
        };
        let tools = ["wrk", "h2load"].into_iter().filter(is_there);
        Self { bare: Costs::new(), tools: tools.map(|tool| (tool, Samples::new())).collect() }
    }

    fn measure(&mut self, dir: &Path, fleet: &Fleet, latency: Duration) {
        let rows = dir.join("bare.csv");
        let server = fleet.answerer(latency);
        let cost = process::cost(&mut bare::client(server.address(), fleet.vms, &rows));
        assert_eq!(server.stop().len(), fleet.vms, "calls of the bare client");
        self.bare.push(fleet.vms, cost);
        for (tool, samples) in &mut self.tools {
            let server = fleet.answerer(latency);
            samples.push(match *tool {
                "wrk" => yardstick::wrk(server.address(), dir),
                _ => yardstick::h2load(server.address(), dir, fleet.vms),
            });
            server.stop();
        }
    }

    /// The throughput of `nights` beside that of each.
    fn figures(&self, case: &'static str, nights: &Nights, to_bare: Target) -> Vec<Figure> {
        let bare = nights.throughput(case, ("bare client", &self.bare.rate), to_bare);
        let tools = self.tools.iter();
        let tools = tools.map(|(tool, theirs)| nights.throughput(case, (tool, theirs), Target::None));
        std::iter::once(bare).chain(tools).collect()
    }
}

/// 100,000 VMs, no latency, no rate: the whole job.
pub(crate) fn throughput(dir: &Path) -> Vec<Figure> {
    const CURLED: usize = 20_000;
    let mut nights = [ONE, FORTY, THOUSAND, TEN_THOUSAND].map(|racks| Nights::new(dir, 100_000, racks));
    let mut others = Others::new();
    let mut curl = Samples::new();
    let curl_is_there = yardstick::has("curl") && yardstick::has("jq");
    for _ in 0..ROUNDS {
        let fleet = &nights[0].fleet;
        others.measure(dir, fleet, Duration::ZERO);
        if curl_is_there {
            let server = fleet.answerer(Duration::ZERO);
            curl.push(yardstick::curl_into_jq(server.address(), dir, CURLED));
            server.stop();
        }
        for nights in &mut nights {
            nights.measure(Duration::ZERO);
        }
    }
    let [one, forty, thousand, ten_thousand] = &nights;
    let mut figures = others.figures("a", one, Target::AtLeast(0.55));
    if curl_is_there {
        figures.push(one.throughput("a", ("curl and jq", &curl), Target::AtLeast(1.3)));
    }
    let beside_one = ("1 rack", &one.first.rate);
    let of_many = [forty, thousand, ten_thousand];
    figures.extend(of_many.map(|many| many.throughput("a", beside_one, Target::AtLeast(0.95))));
    figures.extend(nights.iter().map(|nights| nights.second_throughput("a", Target::AtLeast(1.0))));
    figures.extend(one.written("a", [Target::None; 2]));
    figures.extend(thousand.written("a", [Target::AtMost(3.0), Target::AtMost(1.5)]));
    figures.extend([one, thousand].into_iter().flat_map(|nights| nights.cpu("no latency", &others.bare.cpu)));
    let peak = thousand.first.peak_mib.clone();
    figures.push(Figure::alone("c", "peak memory, 100,000 VMs", "MiB", peak, Target::AtMost(48.0)));
    figures
}

/// 20 ms of latency, where the slots bind.
pub(crate) fn latency(dir: &Path) -> Vec<Figure> {
    let mut nights = [(20_000, ONE), (10_000, FORTY), (20_000, THOUSAND), (10_000, TEN_THOUSAND)]
        .map(|(vms, racks)| Nights::new(dir, vms, racks));
    let mut others = Others::new();
    for _ in 0..ROUNDS {
        others.measure(dir, &nights[0].fleet, LATENCY);
        for nights in &mut nights {
            nights.measure(LATENCY);
        }
    }
    let [one, forty, thousand, ten_thousand] = &nights;
    let mut figures = others.figures("b", one, Target::AtLeast(0.98));
    let bare = ("bare client", &others.bare.rate);
    for (many, target) in
        [(forty, Target::None), (thousand, Target::AtLeast(0.98)), (ten_thousand, Target::None)]
    {
        figures.push(many.throughput("b", bare, target));
    }
    figures.extend(nights.iter().map(|nights| nights.second_throughput("b", Target::None)));
    figures.extend(nights.iter().flat_map(|nights| nights.cpu("20 ms", &others.bare.cpu)));
    let cpu = thousand.first.cpu.clone();
    figures.push(Figure::alone(
        "g",
        "CPU, 20 ms, 1,000 racks, itself",
        "µs a call",
        cpu,
        Target::AtMost(38.0),
    ));
    figures
}

/// How the ledger grows while nothing changes.
pub(crate) fn ledger_size(dir: &Path) -> Vec<Figure> {
    const NIGHTS: usize = 30;
    let fleet = Fleet::new(dir, 20_000, THOUSAND.0, Order::ById);
    fleet.forget();
    let kb = |bytes: u64| bytes as f64 / 1e3;
    let sizes: Vec<f64> = std::iter::repeat_with(|| {
        fleet.cost(Duration::ZERO);
        kb(fleet.ledger_size())
    })
    .take(NIGHTS)
    .collect();
    let (first, last) = (sizes[0], sizes[NIGHTS - 1]);
    let vms = fleet.vms as f64;
    let told = |what: &str, unit, value| {
        let mut once = Samples::new();
        once.push(value);
        Figure::alone("i", what, unit, once, Target::None)
    };
    vec![
        told("ledger of 20,000 VMs after 1 night", "MB", first / 1e3),
        told("the same after 30 nights", "MB", last / 1e3),
        told("a VM, the first night", "KB", first / vms),
        told("a VM, each night after it", "KB", (last - first) / vms / (NIGHTS - 1) as f64),
    ]
}
