//! Campaigns against clocks: four runs over one ledger, of an API that loses answers, acts late, answers slowly and
//! dates wrongly, while its clock and ours are wrong and are set at any moment.
//!
//! The judge knows nothing of times: what was made is `created` in the first run that succeeded for its VM, and in no
//! other; what was there before never is; and what a refresh moved is `updated`. Where no answer says any time, what a
//! lost answer did is `unchanged` on no basis, with a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::dialect::Dialect;
use crate::faketime;
use crate::fixture::{Fixture, Outcome, Process, eventually};
use crate::fleet;
use crate::sandbox::{Call, Sandbox};
use crate::trouble::{count, finish, is_full, pass_time, seed};

const RUNS: usize = 4;
/// Campaigns side by side: they mostly wait.
const LANES: usize = 8;
const SKEWS: [&str; 5] = ["0s", "2s", "-2s", "5h", "-5h"];
/// By how much clocks are set, in seconds, there and back.
const STEPS: [i64; 6] = [-5, 5, -300, 300, -3_600, 3_600];
/// What goes wrong with a third of the calls.
const FAULTS: [&str; 10] = [
    "reset-before=2%",
    "reset-after=9%",
    "hang-after=1%",
    "500-after=5%",
    "503-after=3%",
    "502-before=2%",
    "truncated=2%",
    "garbage=1%",
    "late-effect=3%",
    "429-zero=0.3%",
];
/// Answers that say a wrong time.
const WRONG_TIMES: [&str; 2] = ["stale-503=2%", "cached-502=2%"];

/// One campaign's circumstances.
#[derive(Debug, Clone, Copy)]
struct Campaign {
    dialect: Dialect,
    skew: &'static str,
    /// Answers take seconds.
    slow: bool,
    /// Which moment they name: their own, that of the call's arrival, or none.
    timestamps: &'static str,
    sets_theirs: bool,
    sets_ours: bool,
    seed: u64,
    vms: usize,
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn campaigns(seed: u64) -> Vec<Campaign> {
    let mut all = Vec::new();
    for slow in [false, true] {
        for (sets_theirs, sets_ours) in [(false, false), (true, false), (false, true), (true, true)] {
            for skew in SKEWS {
                let seed = seed.wrapping_add(all.len() as u64);
                let dialect = if seed.is_multiple_of(2) { Dialect::V1 } else { Dialect::V2 };
                let timestamps = if seed.is_multiple_of(3) { "arrival" } else { "answer" };
                let vms = if slow { 48 } else { count(40, 100) };
                all.push(Campaign { dialect, skew, slow, timestamps, sets_theirs, sets_ours, seed, vms });
            }
        }
    }
    let quick = all.iter().filter(|campaign| !campaign.slow && campaign.skew.ends_with("5h"));
    let silent: Vec<_> = quick.map(|campaign| Campaign { timestamps: "never", ..*campaign }).collect();
    all.extend(silent);
    all
}

impl Campaign {
    fn is_silent(&self) -> bool {
        self.timestamps == "never"
    }

    /// Whether a row that had to say `truth` says so, or that nothing told.
    fn is_right(&self, row: &Value, truth: &str) -> bool {
        let nothing_told =
            row["outcome"] == "unchanged" && row["basis"] == "none" && row["warnings"] != json!([]);
        row["outcome"] == truth || self.is_silent() && nothing_told
    }

    fn sandbox(&self) -> Sandbox {
        let (latency, late) = if self.slow { ("3s..6s", "9s") } else { ("5ms..40ms", "2500ms") };
        let seed = self.seed.to_string();
        let mut args = vec!["--seed", &seed, "--latency", latency, "--late", late, "--clock", self.skew];
        args.extend(["--timestamps", self.timestamps]);
        let wrong_times = if self.is_silent() { &[][..] } else { &WRONG_TIMES };
        args.extend(FAULTS.iter().chain(wrong_times).flat_map(|fault| ["--fault", fault]));
        Sandbox::start(&args)
    }

    /// On racks so small that no bad luck makes them look sick.
    fn fixture(&self, sandbox: &Sandbox, vmids: impl Iterator<Item = u64>) -> Fixture {
        let mut fixture = Fixture::at(sandbox).speaking(self.dialect);
        fixture.set("V6FLEET_TIMEOUT", if self.slow { "7s" } else { "1s" });
        let rack_size = if self.slow { 4 } else { 9 };
        let csv = vmids.enumerate().fold("vmid,rack_id\n".to_owned(), |mut csv, (index, id)| {
            writeln!(csv, "{id},r{}", index / rack_size).unwrap();
            csv
        });
        fixture.write_fleet(csv);
        fixture
    }

    /// Sets clocks while the process runs, at any moment at which some answers have told what they were set to before.
    fn set_clocks(
        &self,
        sandbox: &Sandbox,
        fixture: &Fixture,
        process: &mut Process,
        chance: &mut fastrand::Rng,
    ) {
        for _ in 0..2 {
            let before = sandbox.calls().len();
            let answers = || sandbox.calls()[before..].iter().filter(|call| is_good(call)).count();
            eventually("a few answers came, or the run is over", || answers() >= 4 || !process.is_running());
            pass_time(chance, Duration::from_millis(if self.slow { 4_000 } else { 400 }));
            let mut step = || STEPS[chance.usize(..STEPS.len())];
            if self.sets_theirs && process.is_running() {
                sandbox.step_clock(&format!("{}s", step()));
            }
            if self.sets_ours {
                faketime::set(fixture, step());
            }
        }
    }

    fn run(&self, sandbox: &Sandbox, fixture: &Fixture, action: &str, chance: &mut fastrand::Rng) -> Outcome {
        let attempts = (1 + chance.u32(..3)).to_string();
        let run = [
            "run",
            "fleet.csv",
            "--action",
            action,
            "--rate",
            "none",
            "--concurrency",
            "48",
            "--canary",
            "0",
        ];
        let mut process = fixture.start(&[&run[..], &["--max-attempts", &attempts]].concat());
        if self.sets_theirs || self.sets_ours {
            self.set_clocks(sandbox, fixture, &mut process, chance);
        }
        finish(process)
    }

    /// Four runs of `allocate`. Returns how many rows were looked at and what is wrong with some.
    fn allocates(&self) -> (usize, Vec<String>) {
        let sandbox = self.sandbox();
        let mut fixture = self.fixture(&sandbox, fleet::vmids(100_000, self.vms));
        if self.sets_ours && !faketime::can_set_the_time(&mut fixture) {
            return (0, vec![]);
        }
        let mut chance = fastrand::Rng::with_seed(self.seed);
        let outcomes: Vec<Outcome> =
            (0..RUNS).map(|_| self.run(&sandbox, &fixture, "allocate", &mut chance)).collect();
        let made = made(&sandbox.calls());
        let mut wrong = Vec::new();
        for vmid in fleet::vmids(100_000, self.vms) {
            let vmid = vmid.to_string();
            let rows: Vec<&Value> = outcomes.iter().map(|outcome| outcome.row(&vmid)).collect();
            let truth = truth(&rows, made.contains(&vmid));
            if !rows.iter().zip(&truth).all(|(row, truth)| self.is_right(row, truth)) {
                let said: Vec<&Value> = rows.iter().map(|row| &row["outcome"]).collect();
                wrong.push(format!("{self}: {vmid} is {said:?}, where {truth:?} is true: {rows:#?}"));
            }
        }
        (RUNS * self.vms, wrong)
    }

    /// Two runs of `refresh_next_hop` over VMs of which nothing is known, some of which it moves.
    fn refreshes(&self) -> (usize, Vec<String>) {
        let sandbox = self.sandbox();
        let vmids = || fleet::vmids(100_000, 3 * self.vms).filter(|&id| fleet::is_allocated(id));
        let mut fixture = self.fixture(&sandbox, vmids());
        if self.sets_ours && !faketime::can_set_the_time(&mut fixture) {
            return (0, vec![]);
        }
        let mut chance = fastrand::Rng::with_seed(self.seed);
        let outcome = self.run(&sandbox, &fixture, "refresh_next_hop", &mut chance);
        let record = sandbox.calls();
        let moved: BTreeSet<&str> =
            record.iter().filter(|call| call.took_effect).map(|call| call.vmid.as_str()).collect();
        let mut wrong = Vec::new();
        for row in outcome.rows() {
            let vmid = row["vmid"].as_str().unwrap();
            let truth = if moved.contains(vmid) { "updated" } else { "unchanged" };
            if row["outcome"] != "failed" && !self.is_right(row, truth) {
                wrong.push(format!("{self}: {row}, moved: {}", moved.contains(vmid)));
            }
        }
        (outcome.rows().len(), wrong)
    }
}

fn is_good(call: &Call) -> bool {
    call.fault.is_none() && call.answered && (200..300).contains(&call.status)
}

/// The VMs whose allocation a call made.
fn made(record: &[Call]) -> BTreeSet<String> {
    let made: Vec<&Call> = record.iter().filter(|call| call.created).collect();
    let vmids: BTreeSet<String> = made.iter().map(|call| call.vmid.clone()).collect();
    assert_eq!(made.len(), vmids.len(), "an allocation is made once");
    vmids
}

/// What had to be said, given in which runs the VM failed.
fn truth(rows: &[&Value], made: bool) -> Vec<&'static str> {
    let mut created = !made;
    let truth = rows.iter().map(|row| match row["outcome"].as_str() {
        Some("failed") => "failed",
        _ if created => "unchanged",
        _ => {
            created = true;
            "created"
        }
    });
    truth.collect()
}

#[test]
fn each_allocation_is_created_in_exactly_one_run_whatever_the_clocks_do() {
    let seed = seed();
    let all = campaigns(seed);
    let chosen: Vec<Campaign> = match is_full() {
        true => all,
        // A quick one, with wrong clocks that are set.
        false => {
            let campaign = all[if seed.is_multiple_of(2) { 13 } else { 18 }];
            [Dialect::V1, Dialect::V2].map(|dialect| Campaign { dialect, ..campaign }).to_vec()
        }
    };
    let next = AtomicUsize::new(0);
    let campaign = || {
        let (mut rows, mut wrong) = (BTreeMap::new(), Vec::new());
        while let Some(campaign) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (action, (looked_at, found)) in
                [("allocate", campaign.allocates()), ("refresh_next_hop", campaign.refreshes())]
            {
                let skew = if campaign.is_silent() { "unknown" } else { campaign.skew };
                *rows.entry((action, skew)).or_insert(0) += looked_at;
                wrong.extend(found);
            }
        }
        (rows, wrong)
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(campaign)).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let mut rows: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (&what, looked_at) in found.iter().flat_map(|(rows, _)| rows) {
        *rows.entry(what).or_default() += looked_at;
    }
    let wrong: Vec<&String> = found.iter().flat_map(|(_, wrong)| wrong).collect();
    println!("rows: {rows:?}, wrong: {}", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    let told = |skew: &str| rows.get(&("allocate", skew)).copied().unwrap_or_default();
    assert!(!is_full() || SKEWS.iter().map(|skew| told(skew)).sum::<usize>() >= 10_000);
    assert!(!is_full() || SKEWS.iter().all(|skew| told(skew) >= 2_000));
}
