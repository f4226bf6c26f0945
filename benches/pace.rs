//! What a rate limit costs: the real program against the sandbox's limits, hidden, remembered, announced and changing.
//!
//! Each case is a whole run with a ceiling five times too high. Its time is told as a ratio to the ideal, which is all
//! calls at the limit but for those that a rested bucket or an empty window gives at once; its waste as the share of
//! calls that were answered 429, by the sandbox's own record. The cases mostly wait, so some run side by side: few enough
//! that none waits for the machine.
//!
//! Further cases have no limit at all, but refuse, or fail, for other reasons: there the ideal is all calls at the
//! ceiling, and the pauses that the API asked for.

#![expect(clippy::unwrap_used, reason = "what cannot be measured is no measurement")]
#![expect(clippy::print_stdout, reason = "a benchmark shows its table")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::fixture::Fixture;
use support::fleet;
use support::sandbox::Sandbox;
use v6fleet::ledger::{Ledger, Location};

struct Case {
    name: &'static str,
    sandbox: &'static [&'static str],
    rate: &'static str,
    vms: usize,
    /// Seconds.
    ideal: f64,
    /// Seconds that each refused call asks for.
    pause: f64,
    slowest: f64,
    most_refused: f64,
    /// Calls a second that the ledger remembers before the run.
    remembered: Option<f64>,
}

/// Cases side by side, each of two processes.
const LANES: usize = 6;

const BUCKET: &[&str] = &["--limit", "50/s"];

const CASES: [Case; 14] = [
    Case { name: "bucket, 50/s", sandbox: BUCKET, ..Case::bucket(99.0, 1.08, 0.01) },
    Case {
        name: "bucket, 50/s, announced (ISO)",
        sandbox: &["--limit", "50/s", "--rate-limit-headers", "always"],
        ..Case::bucket(99.0, 1.04, 0.001)
    },
    Case {
        name: "bucket, 50/s, announced (IETF)",
        sandbox: &["--limit", "50/s", "--rate-limit-headers", "always", "--rate-limit-form", "ietf"],
        ..Case::bucket(99.0, 1.04, 0.001)
    },
    Case {
        name: "bucket, 50/s, told by --rate",
        sandbox: BUCKET,
        rate: "50/s",
        ..Case::bucket(99.0, 1.04, 0.001)
    },
    Case {
        name: "fixed window, 100/1s",
        sandbox: &["--limit", "100/1s", "--limit-kind", "fixed-window"],
        rate: "500/s",
        ..Case::bucket(49.0, 1.2, 0.025)
    },
    Case {
        name: "sliding window, 100/10s",
        sandbox: &["--limit", "100/10s", "--limit-kind", "sliding-window"],
        rate: "50/s",
        vms: 1_000,
        ..Case::bucket(90.0, 1.2, 0.025)
    },
    Case {
        name: "bucket, 50/s, halved half-way",
        sandbox: &["--limit", "50/s", "--phase", "2500..=limit=25/s"],
        ..Case::bucket(149.0, 1.12, 0.015)
    },
    Case {
        name: "bucket, 50/s, doubled half-way",
        sandbox: &["--limit", "50/s", "--phase", "2500..=limit=100/s"],
        ..Case::bucket(74.0, 1.25, 0.01)
    },
    Case {
        name: "1 in 200 refused, seed 1",
        sandbox: &["--fault", "429-second=0.5%", "--seed", "1"],
        ..UNLIMITED
    },
    Case {
        name: "1 in 200 refused, seed 2",
        sandbox: &["--fault", "429-second=0.5%", "--seed", "2"],
        ..UNLIMITED
    },
    Case {
        name: "1 in 200 refused, seed 3",
        sandbox: &["--fault", "429-second=0.5%", "--seed", "3"],
        ..UNLIMITED
    },
    Case {
        name: "first call refused, 10 s",
        sandbox: &["--phase", "0..1=throttle=10s"],
        rate: "10/s",
        vms: 60,
        ideal: 6.0,
        pause: 10.0,
        most_refused: 0.02,
        ..UNLIMITED
    },
    Case {
        name: "0.416/s remembered of an outage",
        sandbox: &[],
        rate: "10/s",
        vms: 60,
        ideal: 6.0,
        most_refused: 0.0,
        remembered: Some(0.416),
        ..UNLIMITED
    },
    Case {
        name: "each VM's first call cut off",
        sandbox: &["--first-fault", "reset-after"],
        rate: "20/s",
        vms: 60,
        ideal: 6.0,
        slowest: 15.0,
        most_refused: 0.0,
        ..UNLIMITED
    },
];

const UNLIMITED: Case = Case { rate: "200/s", vms: 2_000, pause: 1.0, ..Case::bucket(10.0, 1.1, 0.015) };

impl Case {
    const fn bucket(ideal: f64, slowest: f64, most_refused: f64) -> Self {
        Self {
            name: "",
            sandbox: BUCKET,
            rate: "250/s",
            vms: 5_000,
            ideal,
            pause: 0.0,
            slowest,
            most_refused,
            remembered: None,
        }
    }
}

/// The bucket once more, with what the run before has found.
const REMEMBERED: Case =
    Case { name: "bucket, 50/s, remembered", sandbox: BUCKET, ..Case::bucket(99.0, 1.04, 0.001) };

struct Figures {
    name: &'static str,
    time: f64,
    slowest: f64,
    refused: f64,
    most_refused: f64,
    failed: u64,
}

impl Figures {
    fn hold(&self) -> bool {
        self.time <= self.slowest && self.refused <= self.most_refused && self.failed == 0
    }
}

/// Runs a case with what `fixture` remembers.
#[expect(clippy::cast_precision_loss, reason = "a case makes thousands of calls")]
fn run(case: &Case, sandbox: &Sandbox, fixture: &Fixture) -> Figures {
    let before = sandbox.calls().len();
    let begun = Instant::now();
    let mut process = fixture.start(&[
        "run",
        "fleet.csv",
        "--action",
        "allocate",
        "--rate",
        case.rate,
        "--concurrency",
        "64",
        "-q",
    ]);
    while process.is_running() {
        thread::sleep(Duration::from_millis(5));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let outcome = process.end();
    let calls = &sandbox.calls()[before..];
    let refused = calls.iter().filter(|call| call.status == 429).count();
    Figures {
        name: case.name,
        time: seconds / (case.ideal + case.pause * refused as f64),
        slowest: case.slowest,
        refused: refused as f64 / calls.len() as f64,
        most_refused: case.most_refused,
        failed: outcome.summary()["failed"].as_u64().unwrap(),
    }
}

fn start(case: &Case) -> (Sandbox, Fixture) {
    let sandbox = Sandbox::start(&[case.sandbox, &["--latency", "40ms"]].concat());
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(case.vms));
    if let Some(per_second) = case.remembered {
        remember(&fixture, per_second);
    }
    (sandbox, fixture)
}

/// As an earlier run would have left it.
fn remember(fixture: &Fixture, per_second: f64) {
    fixture.run(&["run", "fleet.csv", "--action", "allocate", "--limit", "1"]).exits(0);
    let ledger = Ledger::open(&Location::File(fixture.ledger()), Duration::ZERO).unwrap();
    let run = ledger.find_run("latest").unwrap();
    ledger.remember_rate(&run, Some(per_second)).unwrap();
    ledger.close().unwrap();
}

fn measure(case: &'static Case) -> Vec<Figures> {
    let (sandbox, fixture) = start(case);
    let mut figures = vec![run(case, &sandbox, &fixture)];
    if case.name == CASES[0].name {
        // Until the bucket is full again.
        thread::sleep(Duration::from_secs(2));
        figures.push(run(&REMEMBERED, &sandbox, &fixture));
    }
    if case.name.starts_with("1 in 200") {
        let name = "  and the run after it";
        figures.push(Figures { name, ..run(case, &sandbox, &fixture) });
    }
    figures
}

/// In the order of the cases.
fn measure_all(cases: &[&'static Case]) -> Vec<Figures> {
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut measured = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return measured };
            measured.extend(measure(case).into_iter().map(|figures| (index, figures)));
        }
    };
    let mut measured = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect::<Vec<_>>()
    });
    measured.sort_by_key(|(index, _)| *index);
    measured.into_iter().map(|(_, figures)| figures).collect()
}

fn main() -> ExitCode {
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    let chosen: Vec<&'static Case> = CASES.iter().filter(|case| case.name.contains(&only)).collect();
    let figures = measure_all(&chosen);
    println!("{:32} {:>16} {:>18} {:>7}", "limit", "time/ideal", "429s/calls", "failed");
    for row in &figures {
        let mark = if row.hold() { "" } else { "  missed" };
        println!(
            "{:32} {:>7.3} (≤ {:<4}) {:>8.2} % (≤ {:<3} %) {:>4}{mark}",
            row.name,
            row.time,
            row.slowest,
            row.refused * 100.0,
            row.most_refused * 100.0,
            row.failed
        );
    }
    ExitCode::from(u8::from(!figures.iter().all(Figures::hold)))
}
