//! `v6fleet plan`, and what runs make of it: the sandbox's record is the judge of what was looked at and what was called.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use crate::dialect::Dialect::V2;
use crate::fixture::{Fixture, Outcome};
use crate::fleet::{self, is_allocated, rack_of};
use crate::sandbox::{Call, Sandbox};

/// Inventories whose rows have an action each.
const PLAN: [&str; 6] = ["plan", "fleet.csv", "--rate", "none", "--concurrency", "64"];
const RUN: [&str; 6] = ["run", "fleet.csv", "--rate", "none", "--concurrency", "64"];

/// VMs by their numbers, what is asked for them, and what a plan has to say of them.
type Part = (Range<u64>, &'static str, &'static str);

const FLEET: [Part; 8] = [
    (10_000..10_900, "allocate", "create"),
    (11_000..11_040, "refresh_next_hop", "update"),
    (20_000..22_000, "allocate", "keep"),
    (22_000..23_990, "refresh_next_hop", "keep"),
    (12_000..12_020, "allocate", "blocked"),
    (12_100..12_120, "refresh_next_hop", "blocked"),
    (12_200..12_220, "refresh_next_hop", "blocked"),
    (30_000..30_010, "allocate", "failed"),
];

/// Nobody knows 30000 to 30009.
const WORLD: &str = r#"
[racks.a]
pool = "2001:db8:2700::/40"
next_hop = "2001:db8:2700::1"
vms = ["10000-10899", "12000-12019", "12200-12219"]
allocated = ["20000-21999"]

[racks.b]
pool = "2001:db8:2800::/40"
next_hop = "2001:db8:2800::1"
allocated = ["22000-23989", "12100-12119"]

[racks.moved]
pool = "2001:db8:2900::/40"
next_hop = "2001:db8:2900::2"
previous_next_hop = "2001:db8:2900::1"
allocated = ["11000-11039"]

[vms.12000-12019]
reason = "Assign IPv6 to the net0 interface first"

[vms.12100-12119]
status = "cooldown"
"#;

const REASONS: [(&str, u64); 3] = [
    ("Assign IPv6 to the net0 interface first", 20),
    ("the last allocation cools down", 20),
    ("there is no allocation to refresh", 20),
];

/// The key `planner` may look alone.
const KEYS: &str = "planner read:vm\na-key\n";

/// The world above, and so that it can be called.
struct World {
    sandbox: Sandbox,
    fixture: Fixture,
    _files: tempfile::TempDir,
}

impl World {
    fn of(world: &str, csv: &str, options: &[&str]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, content).unwrap();
            text(&path)
        };
        let (world, keys) = (write("world.toml", world), write("keys", KEYS));
        let sandbox = Sandbox::start(&[&["--world", &world, "--key-file", &keys][..], options].concat());
        let fixture = Fixture::at(&sandbox).speaking(V2);
        fixture.write_fleet(csv);
        Self { sandbox, fixture, _files: files }
    }

    fn run(&self, command: &[&str], options: &[&str]) -> Outcome {
        self.fixture.run(&[command, options].concat())
    }

    /// The VMs of all requests of a kind since so many.
    fn asked(&self, kind: &str, since: usize) -> Vec<String> {
        let mut asked: Vec<String> =
            self.record(since).into_iter().filter(|call| call.kind == kind).map(|call| call.vmid).collect();
        asked.sort();
        asked
    }

    fn record(&self, since: usize) -> Vec<Call> {
        self.sandbox.calls().split_off(since)
    }

    fn requests(&self) -> usize {
        self.sandbox.calls().len()
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn csv(parts: &[Part]) -> String {
    let mut csv = "vmid,action\n".to_owned();
    for (vmids, action, _) in parts {
        for vmid in vmids.clone() {
            writeln!(csv, "{vmid},{action}").unwrap();
        }
    }
    csv
}

/// Each VM with the outcome that it must have.
fn expected(parts: &[Part], outcome: impl Fn(&'static str) -> &'static str) -> Vec<String> {
    let verdicts = |(vmids, _, planned): &Part| {
        let outcome = outcome(planned);
        vmids.clone().map(move |vmid| format!("{vmid} {outcome}"))
    };
    parts.iter().flat_map(verdicts).collect()
}

fn outcomes(outcome: &Outcome) -> Vec<String> {
    let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    outcome.rows().iter().map(|row| format!("{} {}", word(row, "vmid"), word(row, "outcome"))).collect()
}

/// In the order of [`World::asked`].
fn numbers(parts: &[Part]) -> Vec<String> {
    let numbers = |(vmids, ..): &Part| vmids.clone().map(|vmid| vmid.to_string());
    let sorted: BTreeSet<String> = parts.iter().flat_map(numbers).collect();
    sorted.into_iter().collect()
}

#[test]
fn what_was_planned_is_what_a_run_does_and_then_nothing_is_left() {
    let mut world = World::of(WORLD, &csv(&FLEET), &[]);
    let before = world.sandbox.allocations();
    world.fixture.set("HOSTUP_API_KEY", "planner");
    let plan = world.run(&PLAN, &[]).exits(3);
    assert_eq!(outcomes(&plan), expected(&FLEET, |planned| planned));
    let mut reasons = BTreeMap::new();
    for row in plan.rows().iter().filter(|row| row["outcome"] == "blocked") {
        let reason = row["reason"].as_str().unwrap();
        let (known, _) = *REASONS.iter().find(|(known, _)| reason.starts_with(known)).unwrap();
        *reasons.entry(known).or_default() += 1;
    }
    assert_eq!(reasons, BTreeMap::from(REASONS));
    assert_eq!(world.asked("look", 0), numbers(&FLEET));
    assert_eq!((world.requests(), world.sandbox.allocations()), (5_000, before));

    world.fixture.set("HOSTUP_API_KEY", "a-key");
    let run = world.run(&RUN, &["--only-planned"]).exits(0);
    let done = run.verdicts();
    let basis =
        |vmids: &Range<u64>, why: &str| vmids.clone().map(|vmid| format!("{vmid} {why}")).collect::<Vec<_>>();
    assert_eq!(
        done,
        [basis(&FLEET[0].0, "created created_flag"), basis(&FLEET[1].0, "updated ledger")].concat()
    );
    assert_eq!((world.asked("call", 5_000), world.requests()), (numbers(&FLEET[..2]), 5_940));
    run.assert_in_stdout("940 of 5,000 VMs: --only-planned=latest");

    let again = world.run(&PLAN, &["--detailed-exitcode"]).exits(3);
    let is_done = |planned| if ["create", "update"].contains(&planned) { "keep" } else { planned };
    assert_eq!(outcomes(&again), expected(&FLEET, is_done));
    let nothing = world.run(&RUN, &["--only-planned"]).exits(7);
    nothing.assert_in_stderr("found nothing to do; nothing was called");
    assert_eq!(world.requests(), 10_940);
}

/// In the built-in world, where every VM that is not allocated can be.
const ALLOCATE: [&str; 2] = ["--action", "allocate"];
const VMS: usize = 300;

fn fixture_of(sandbox: &Sandbox, vms: usize) -> Fixture {
    let fixture = Fixture::at(sandbox).speaking(V2).env("V6FLEET_RATE", "none");
    fixture.write_fleet(fleet::csv(vms));
    fixture
}

fn plan<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["plan", "fleet.csv"], &ALLOCATE[..], options].concat()
}

fn run<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["run", "fleet.csv"], &ALLOCATE[..], options].concat()
}

fn forecasts(vms: usize) -> Vec<String> {
    let forecast = |vmid| format!("{vmid} {}", if is_allocated(vmid) { "keep" } else { "create" });
    fleet::vmids(100_000, vms).map(forecast).collect()
}

fn id_of(outcome: &Outcome) -> String {
    outcome.report()["run"]["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_refused(fixture: &Fixture, command: &[&str], why: &str) {
    for dry in [&[][..], &["--dry-run"]] {
        let outcome = fixture.run(&[command, dry].concat()).exits(2);
        outcome.assert_in_stderr(why);
        outcome.assert_in_stderr("nothing was called.\nMake a new plan: v6fleet plan fleet.csv --action ");
    }
}

#[test]
fn a_plan_that_says_nothing_of_the_run_is_refused_with_the_command_for_a_new_one() {
    let sandbox = Sandbox::start(&[]);
    let mut fixture = fixture_of(&sandbox, 6);
    let called = id_of(&fixture.run(&run(&["--limit", "1"])).exits(0));
    assert_refused(&fixture, &run(&["--only-planned"]), "no plan in the ledger");
    let option = format!("--only-planned={called}");
    assert_refused(&fixture, &run(&[&option]), "is a run, and a plan is wanted");
    let planned = id_of(&fixture.run(&plan(&[])).exits(0));
    let requests = sandbox.calls().len();
    let refresh = ["run", "fleet.csv", "--action", "refresh_next_hop", "--only-planned"];
    assert_refused(&fixture, &refresh, "is for allocate, and this run is for refresh_next_hop");
    for (options, why) in [
        (&["--only-planned", "--max-plan-age", "1ms"], "old, and --max-plan-age is "),
        (&["--only-planned", "--column", "name=rack_id"], "has read the inventory in another way"),
        (
            &["--only-planned", "--base-url", "http://127.0.0.1:1"],
            "and this run is of http://127.0.0.1:1 (v2)",
        ),
    ] {
        assert_refused(&fixture, &run(options), why);
    }
    let failed = format!("--only-failed={planned}");
    fixture.run(&run(&[&failed])).exits(2).assert_in_stderr("is a plan, and a run is wanted");
    fixture.run(&run(&["--only-planned", "--api", "v1"])).exits(2).assert_in_stderr("need --api v2");
    fixture.set("V6FLEET_ONLY_PLANNED", "latest");
    fixture.write_fleet(fleet::csv(7));
    assert_refused(&fixture, &run(&[]), "of another inventory, or other contents of it");
    assert_eq!(sandbox.calls().len(), requests);

    fixture.write_fleet(fleet::csv(6));
    let dry = fixture.run(&run(&["--dry-run"])).exits(0);
    dry.assert_in_stdout(&format!("Only what plan {planned} said would change: 5 VMs."));
    assert_eq!(fixture.run(&run(&[])).exits(0).rows().len(), 5);
}

#[test]
fn a_plan_that_was_stopped_is_refused_until_it_has_come_to_its_end() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture_of(&sandbox, 20);
    let stopped = fixture.run(&plan(&["--max-failed", "0", "--rate", "1/s", "--deadline", "100ms"])).exits(5);
    let id = id_of(&stopped);
    let calls = sandbox.calls().len();
    let refusal = fixture.run(&run(&["--only-planned"])).exits(2);
    refusal.assert_in_stderr(&format!("plan {id} has not come to its end (deadline)"));
    assert_eq!(sandbox.calls().len(), calls);
    let plan = fixture.run(&plan(&["--resume", "--deadline", "1m"])).exits(0);
    assert_eq!((id_of(&plan), outcomes(&plan)), (id, forecasts(20)));
    assert_eq!(sandbox.calls().len(), 20, "no VM was looked at twice");
    let run = fixture.run(&run(&["--only-planned"])).exits(0);
    assert_eq!(
        run.rows().len(),
        forecasts(20).iter().filter(|forecast| forecast.ends_with("create")).count()
    );
}

#[test]
fn a_plan_that_stopped_with_every_vm_settled_is_made_anew_as_nothing_of_it_is_left() {
    let sandbox = Sandbox::start(&["--latency", "2500ms"]);
    let fixture = fixture_of(&sandbox, 1);
    let id = id_of(&fixture.run(&plan(&["--deadline", "1s"])).exits(5));
    let why =
        format!("plan {id} has not come to its end (deadline), and nothing of it is left to go on with");
    assert_refused(&fixture, &run(&["--only-planned"]), &why);
    fixture.run(&["resume", &id]).exits(7);
}

#[test]
fn of_a_part_of_the_fleet_exactly_what_was_planned_is_called() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture_of(&sandbox, 40);
    // VMs 100000 to 100019 are on the one rack, 100020 to 100039 on the other.
    let plan = fixture.run(&plan(&["--rack", "dc1r28"])).exits(0);
    let planned = plan.vms_that_are("create");
    let none = fixture.run(&run(&["--only-planned", "--rack", "dc1r27"])).exits(7);
    none.assert_in_stderr(&format!("of the VMs that plan {} would change none matches", id_of(&plan)));
    let outcome = fixture.run(&run(&[&format!("--only-planned={}", &id_of(&plan)[..15])])).exits(0);
    assert_eq!(outcome.vmids(), planned);
    let mut called: Vec<String> =
        sandbox.calls().into_iter().filter(|call| call.kind == "call").map(|call| call.vmid).collect();
    called.sort();
    assert_eq!(called, planned);
    assert!(planned.iter().all(|vmid| rack_of(vmid.parse().unwrap()) == "dc1r28"));
}

#[test]
fn a_world_that_has_changed_since_its_plan_is_told_as_it_is() {
    let world = World::of(
        WORLD,
        &csv(&[(10_000..10_004, "allocate", "create"), (11_000..11_002, "refresh_next_hop", "update")]),
        &[],
    );
    let planned = world.run(&PLAN, &[]).exits(0);
    assert_eq!(planned.vms_that_are("keep"), [""; 0]);
    // Somebody else allocates one, long before the run; of one the account is no longer allowed to have any.
    let other = Fixture::at(&world.sandbox).speaking(V2);
    other.write_fleet("vmid\n10001\n");
    other.run(&["run", "fleet.csv", "--action", "allocate"]).exits(0);
    world.sandbox.step_clock("1h");
    world.sandbox.set_vm("10002", &json!({"reason": "Assign IPv6 first"}));
    world.sandbox.set_next_hop("moved", "2001:db8:2900::3");
    world.sandbox.set_vm("11001", &json!({"status": "cooldown"}));
    let run = world.run(&RUN, &["--only-planned"]).exits(3);
    assert_eq!(
        run.verdicts(),
        [
            "10000 created created_flag",
            "10001 unchanged server_clock",
            "10002 failed refused_by_api",
            "10003 created created_flag",
            "11000 updated ledger",
            "11001 updated ledger",
        ]
    );
    assert_eq!(run.row("11000")["next_hop"], "2001:db8:2900::3");
    assert_eq!(run.row("11001")["changes"][0]["field"], "status");
    assert!(run.row("10002")["error"].as_str().unwrap().contains("Assign IPv6 first"));
}

#[test]
fn trouble_keeps_no_plan_from_the_truth_and_nothing_is_changed_by_it() {
    let troubles = [
        "--fault",
        "look:500-before=5%",
        "--fault",
        "look:truncated=3%",
        "--fault",
        "look:reset-before=3%",
        "--fault",
        "look:429-zero=5%",
        "--latency",
        "1ms..5ms",
    ];
    let sandbox = Sandbox::start(&troubles);
    let fixture = fixture_of(&sandbox, 200);
    let before = sandbox.allocations();
    let plan = fixture.run(&plan(&["--max-attempts", "12"])).exits(0);
    assert_eq!(outcomes(&plan), forecasts(200));
    assert!(plan.summary()["throttled"].as_u64() > Some(0) && plan.summary()["retries"].as_u64() > Some(5));
    let calls = sandbox.calls();
    assert!(calls.iter().all(|call| call.kind == "look" && !call.took_effect));
    assert_eq!(sandbox.allocations(), before);
}

#[test]
fn a_plan_that_was_killed_goes_on_and_leaves_nothing_that_may_have_acted() {
    let sandbox = Sandbox::start(&["--latency", "1ms..20ms"]);
    let fixture = fixture_of(&sandbox, VMS);
    let process = fixture.start(&plan(&[]));
    sandbox.await_calls(VMS / 2);
    process.kill();
    let killed = fixture.report_of("latest");
    let in_flight: Vec<&str> = killed
        .rows()
        .iter()
        .filter(|row| row["settled_at"].is_null())
        .map(|row| row["vmid"].as_str().unwrap())
        .collect();
    let plan = fixture.resume(&[]).exits(0);
    assert_eq!(outcomes(&plan), forecasts(VMS));
    let mut looks: BTreeMap<String, usize> = BTreeMap::new();
    for call in sandbox.calls() {
        assert_eq!(call.kind, "look");
        *looks.entry(call.vmid).or_default() += 1;
    }
    for (vmid, looks) in &looks {
        assert!(*looks == 1 || (*looks == 2 && in_flight.contains(&vmid.as_str())), "{vmid}: {looks} looks");
    }
    // Killed again, and never gone on with: the next run tells everything by the book.
    let process = fixture.start(&self::plan(&[]));
    sandbox.await_calls(looks.values().sum::<usize>() + VMS / 2);
    process.kill();
    let by_the_book = |vmid: u64| {
        format!("{vmid} {}", if is_allocated(vmid) { "unchanged ledger" } else { "created created_flag" })
    };
    let verdicts: Vec<String> = fleet::vmids(100_000, VMS).map(by_the_book).collect();
    assert_eq!(fixture.run(&run(&[])).exits(0).verdicts(), verdicts);
}

#[test]
fn a_plan_is_stopped_by_all_that_stops_a_run() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "another-key\n").unwrap();
    let no_key = ["--key-file", keys.path().to_str().unwrap()];
    let sick = [
        "--rack-fault",
        "dc1r27=500",
        "--rack-fault",
        "dc1r28=500",
        "--rack-fault",
        "dc1r29=500",
        "--rack-fault",
        "dc2r01=500",
    ];
    for (sandbox, options, code, stopped_by, most) in [
        (&no_key[..], &["--concurrency", "4"][..], 8, "key_refused", 9),
        (&sick, &["--max-attempts", "1"], 4, "all_failed", VMS),
        (&sick, &["--max-attempts", "1", "--canary", "3"], 4, "canary", 3),
        (&sick, &["--max-attempts", "1", "--canary", "0", "--max-failed", "5"], 4, "max_failed", VMS),
        (&["--latency", "50ms"], &["--deadline", "200ms"], 5, "deadline", VMS),
    ] {
        let sandbox = Sandbox::start(sandbox);
        let fixture = fixture_of(&sandbox, VMS);
        let outcome = fixture.run(&plan(options)).exits(code);
        assert_eq!(outcome.summary()["stopped_by"], stopped_by);
        assert!(sandbox.calls().len() <= most, "{stopped_by}: {} looks", sandbox.calls().len());
    }
    let sandbox = Sandbox::start(&["--latency", "50ms"]);
    let fixture = fixture_of(&sandbox, VMS);
    let process = fixture.start(&plan(&[]));
    sandbox.await_calls(20);
    process.signal("INT");
    process.end().exits(130);
    let plan = fixture.resume(&["--concurrency", "100"]).exits(0);
    assert_eq!((outcomes(&plan), sandbox.calls().len()), (forecasts(VMS), VMS));
}

#[test]
fn looks_leave_at_the_typed_rate() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture_of(&sandbox, 150);
    fixture.run(&plan(&["--rate", "100/s"])).exits(0);
    let calls = sandbox.calls();
    let took = calls[149].at.duration_since(calls[0].at).as_secs_f64();
    assert!(took >= 1.4, "150 looks in {took} s");
}

#[test]
fn what_a_plan_comes_to_is_in_its_exit_code_where_that_is_asked_for() {
    let world = World::of(WORLD, "vmid\n20000\n", &[]);
    let of = |csv: &str, options: &[&str]| {
        world.fixture.write_fleet(csv);
        world.run(&["plan", "fleet.csv", "--action", "allocate"], options)
    };
    for (csv, plain, detailed) in [
        ("vmid\n20000\n", 0, 0),
        ("vmid\n20000\n10000\n", 0, 10),
        ("vmid\n20000\n10000\n12000\n", 0, 3),
        ("vmid\n20000\n10000\n30000\n", 3, 3),
    ] {
        of(csv, &[]).exits(plain);
        of(csv, &["--detailed-exitcode"]).exits(detailed);
    }
    let calls = world.requests();
    of("vmid\n20000\n", &["--api", "v1"]).exits(2).assert_in_stderr("--api v2");
    assert_eq!(world.requests(), calls);
}

#[test]
fn what_a_plan_could_not_look_at_is_planned_again_as_its_recap_says() {
    let world = World::of(WORLD, "vmid\n10000\n20000\n30000\n", &[]);
    let first = world.run(&["plan", "fleet.csv", "--action", "allocate"], &[]).exits(3);
    let again = first.stdout.lines().find_map(|line| line.split_once("v6fleet plan ")).unwrap().1;
    assert!(again.ends_with(&format!("--only-failed={}", id_of(&first))), "{again}");
    let words: Vec<&str> = again.split(' ').collect();
    assert_eq!(world.run(&["plan"], &words).exits(3).vms_that_are("failed"), ["30000"]);
    world.run(&["run"], &words).exits(2).assert_in_stderr("is a plan, and a run is wanted");
    // latest is the latest run, of which there is none.
    let latest = ["plan", "fleet.csv", "--action", "allocate", "--only-failed"];
    world.run(&latest, &[]).exits(2).assert_in_stderr("no run in the ledger");
}

#[test]
fn a_lost_answer_is_not_hidden_by_a_plan_that_has_seen_what_it_did() {
    let sandbox = Sandbox::start(&["--rack-fault", "dc1r27=500-after"]);
    let fixture = fixture_of(&sandbox, 0);
    fixture.write_fleet("vmid\n10000\n10006\n10020\n");
    let lost = fixture.run(&run(&["--max-attempts", "2"])).exits(3);
    assert_eq!(lost.vms_that_are("failed"), ["10000", "10006"]);
    assert!(
        lost.row("10000")["may_have_applied"] == true
            && sandbox.calls().iter().any(|call| call.created && call.vmid == "10000")
    );
    sandbox.set_fault("dc1r27", None);
    for _ in 0..2 {
        assert_eq!(fixture.run(&plan(&[])).exits(0).vms_that_are("keep"), ["10000", "10006", "10020"]);
    }
    let told = fixture.run(&run(&[])).exits(0).verdicts();
    assert_eq!(told, ["10000 created lost_answer", "10006 unchanged server_clock", "10020 unchanged ledger"]);
    fixture.run(&plan(&[])).exits(0);
    let again = fixture.run(&run(&[])).exits(0).verdicts();
    assert!(again.iter().all(|verdict| verdict.ends_with(" unchanged ledger")), "{again:?}");
}
