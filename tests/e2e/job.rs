//! Which run is the same job: what `--resume` goes on with, what supersedes what, and whose turn comes first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::fixture::{Fixture, Outcome, eventually};
use crate::script::{Api, Step, error, success};

const NIGHT: [&str; 9] =
    ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "1", "--resume"];

/// All that a night has but `--resume`.
const BY_HAND: usize = NIGHT.len() - 1;

/// An API that wants to be left alone for an hour after so many more calls, which stops a run without a brake.
struct Metered {
    api: Api,
    calls: Arc<AtomicUsize>,
}

impl Metered {
    fn start() -> Self {
        let calls = Arc::new(AtomicUsize::new(usize::MAX / 2));
        let left = Arc::clone(&calls);
        let spend =
            move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        let api = Api::start(move |_, _| match spend() {
            true => success(201, true, 0).into(),
            false => error(429, "RATE_LIMITED").header("retry-after", "3600").into(),
        });
        Self { api, calls }
    }

    fn fixture(&self) -> Fixture {
        Fixture::new().env("V6FLEET_BASE_URL", &self.api.base_url()).env("HOSTUP_API_KEY", "a-key")
    }

    fn allow(&self, calls: usize) {
        self.calls.store(calls, Ordering::SeqCst);
    }

    /// The VMs that were called during `job`, in order.
    fn called_in<T>(&self, job: impl FnOnce() -> T) -> (Vec<String>, T) {
        let before = self.api.received().len();
        let result = job();
        (self.api.received().split_off(before).into_iter().map(|call| call.vmid).collect(), result)
    }

    /// Lets `job` make so many calls, and all later ones through again.
    fn interrupted(&self, calls: usize, job: impl FnOnce() -> Outcome) -> Outcome {
        self.allow(calls);
        let outcome = job().exits(5);
        self.allow(usize::MAX / 2);
        outcome
    }
}

/// VMs on the rack that the API, too, says they are on.
fn on_one_rack(vmids: &[&str]) -> String {
    vmids.iter().fold("vmid,rack\n".to_owned(), |csv, vmid| csv + vmid + ",dc1r28\n")
}

fn id(outcome: &Outcome) -> &str {
    outcome.report()["run"]["id"].as_str().unwrap()
}

fn last_success(fixture: &Fixture, file: &str) -> String {
    let gauges = fixture.read(file);
    let of_fleet = |line: &&str| {
        line.starts_with("v6fleet_last_success_timestamp_seconds{") && !line.contains("selection=")
    };
    gauges.lines().find(of_fleet).unwrap().rsplit(' ').next().unwrap().to_owned()
}

const RACKS: &str = "vmid,rack_id,team\n\
    1,a,x\n2,a,y\n3,a,x\n4,b,y\n5,b,x\n6,b,y\n7,c,x\n8,c,y\n9,c,x\n10,c,y\n";

#[test]
fn a_part_of_the_fleet_that_was_tried_by_hand_is_another_job_than_the_fleet() {
    for narrowed in [
        &["--limit", "3"][..],
        &["--rack", "a"],
        &["--vmid", "1-4"],
        &["--vmid", "@ids"],
        &["--where", "team=x"],
        &["--rack", "!c", "--where", "!team=y"],
    ] {
        let metered = Metered::start();
        let fixture = metered.fixture();
        fixture.write("fleet.csv", RACKS);
        fixture.write("ids", "1-4\n");
        let by_hand = [&NIGHT[..BY_HAND], narrowed].concat();
        let tried = metered.interrupted(1, || fixture.run(&by_hand));
        let night = [&NIGHT[..], &["-o", "night.prom"]].concat();
        let stopped = metered.interrupted(4, || fixture.run(&night));
        assert_eq!(stopped.rows().len(), 10, "{narrowed:?}: the fleet, not the part of it");
        assert_eq!(last_success(&fixture, "night.prom"), "0.0");

        // The part is finished: that is no success of the fleet, and the fleet's run is not buried by it.
        let (called, part) = metered
            .called_in(|| fixture.run(&[&by_hand[..], &["--resume", "-o", "night.prom"]].concat()).exits(0));
        assert_eq!((id(&part), called.len()), (id(&tried), tried.rows().len() - 1), "{narrowed:?}");
        assert_eq!(last_success(&fixture, "night.prom"), "0.0", "{narrowed:?}");
        let (called, whole) = metered.called_in(|| fixture.run(&night).exits(0));
        assert_eq!((id(&whole), called.len()), (id(&stopped), 6), "{narrowed:?}");
        assert_ne!(last_success(&fixture, "night.prom"), "0.0");
    }
}

#[test]
fn the_same_selection_typed_in_another_order_and_with_another_pace_is_the_same_job() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    fixture.write("fleet.csv", RACKS);
    let run = |options: &[&'static str]| [&NIGHT[..], options].concat();
    let stopped = metered.interrupted(2, || fixture.run(&run(&["--rack", "a", "--rack", "b"])));
    let other = fixture.run(&run(&["--rack", "a"])).exits(0);
    assert_eq!(other.rows().len(), 3);
    let same = fixture.run(&run(&["--rack", "b", "--rack", "a", "--max-attempts", "3"])).exits(0);
    assert_eq!((id(&same), same.rows().len()), (id(&stopped), 6));
}

#[test]
fn over_an_inventory_that_has_changed_a_new_run_is_begun_with_what_the_old_one_left_first() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    fixture.write("fleet.csv", on_one_rack(&["1", "2", "3", "4", "5"]));
    let stopped = metered.interrupted(3, || fixture.run(&NIGHT));
    fixture.write("fleet.csv", on_one_rack(&["6", "1", "2", "4", "5"]));
    let (called, anew) = metered.called_in(|| fixture.run(&NIGHT).exits(0));
    assert_ne!(id(&anew), id(&stopped));
    assert_eq!(called, ["4", "5", "6", "1", "2"]);
    assert_eq!(anew.vmids(), ["6", "1", "2", "4", "5"], "in the report, the inventory's order");
    let warning = format!("the inventory has changed since run {} was stopped", id(&stopped));
    let warnings = anew.summary()["warnings"].to_string();
    for told in [&warnings, &anew.stderr, &anew.stdout] {
        assert!(told.contains(&warning), "{told}");
    }
    let none = fixture.run(&["resume"]).exits(7);
    let command = format!("2 of 5 VMs left: v6fleet resume {}", id(&stopped));
    assert!(none.stderr.contains("superseded") && none.stderr.contains(&command), "{}", none.stderr);
    let (called, _) = metered.called_in(|| fixture.run(&["resume", id(&stopped)]).exits(0));
    assert_eq!(called, ["4", "5"]);
}

#[test]
fn the_same_file_read_otherwise_or_another_list_of_ids_is_no_run_to_go_on_with() {
    for (before, after, ids) in [
        (&["--column", "vmid=one"][..], &["--column", "vmid=two"][..], "1-4\n"),
        (&["--vmid", "@ids"], &["--vmid", "@ids"], "3-6\n"),
    ] {
        let metered = Metered::start();
        let fixture = metered.fixture();
        let column = if before[0] == "--column" { "one" } else { "vmid" };
        fixture.write("fleet.csv", format!("{column},two\n1,11\n2,12\n3,13\n4,14\n5,15\n6,16\n"));
        fixture.write("ids", "1-4\n");
        let stopped = metered.interrupted(1, || fixture.run(&[&NIGHT[..], before].concat()));
        fixture.write("ids", ids);
        let anew = fixture.run(&[&NIGHT[..], after].concat()).exits(0);
        assert_ne!(id(&anew), id(&stopped), "{before:?}");
        assert_eq!(anew.vmids().len(), if ids == "1-4\n" { 6 } else { 4 }, "{before:?}");
    }
}

#[test]
fn a_packed_inventory_is_the_same_where_its_bytes_are() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    let packed = |csv: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, csv.as_bytes()).unwrap();
        fixture.write("fleet.csv.gz", packer.finish().unwrap());
    };
    let night: Vec<&str> =
        NIGHT.iter().map(|word| if *word == "fleet.csv" { "fleet.csv.gz" } else { word }).collect();
    packed("vmid\n1\n2\n3\n");
    let stopped = metered.interrupted(1, || fixture.run(&night));
    assert_eq!(id(&fixture.run(&night).exits(0)), id(&stopped));
    metered.interrupted(1, || fixture.run(&night));
    packed("vmid\n1\n2\n");
    assert_eq!(fixture.run(&night).exits(0).vmids(), ["1", "2"]);
}

/// Runs with this on standard input.
fn piped(fixture: &Fixture, args: &[&str], csv: &str) -> Outcome {
    fixture.write("piped.csv", csv);
    let mut command = fixture.command(args);
    command.stdin(File::open(fixture.path("piped.csv")).unwrap());
    fixture.spawn(command).end()
}

#[test]
fn standard_input_is_the_same_job_only_where_it_has_the_same_contents() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    let night: Vec<&str> = NIGHT.iter().map(|word| if *word == "fleet.csv" { "-" } else { word }).collect();
    let (a, b) = ("vmid\n1\n2\n3\n4\n", "vmid\n11\n12\n13\n");
    let first = metered.interrupted(1, || piped(&fixture, &night, a));
    let (called, other) = metered.called_in(|| piped(&fixture, &night, b).exits(0));
    assert_eq!(called, ["11", "12", "13"]);
    assert_ne!(id(&first), id(&other));
    let (called, again) = metered.called_in(|| piped(&fixture, &night, a).exits(0));
    assert_eq!((called, id(&again)), (["2", "3", "4"].map(str::to_owned).to_vec(), id(&first)));
}

#[test]
fn what_comes_through_a_named_pipe_is_known_by_its_contents_too() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    let pipe = fixture.path("fleet.csv");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let fed = |csv: &'static str| {
        let pipe = pipe.clone();
        let writer = std::thread::spawn(move || fs::write(pipe, csv).unwrap());
        let outcome = fixture.run(&NIGHT);
        writer.join().unwrap();
        outcome
    };
    let first = metered.interrupted(1, || fed("vmid\n1\n2\n3\n"));
    let other = fed("vmid\n11\n12\n").exits(0);
    assert_eq!(other.vmids(), ["11", "12"]);
    assert_eq!(id(&fed("vmid\n1\n2\n3\n").exits(0)), id(&first));
}

#[test]
fn a_file_whose_directory_is_mounted_anew_is_the_same_file() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    let mount = |release: &str, csv: &str| {
        fixture.write(&format!("mount/{release}/fleet.csv"), csv);
        let data = fixture.path("mount/..data");
        let _ = fs::remove_file(&data);
        symlink(release, &data).unwrap();
    };
    symlink("..data/fleet.csv", {
        fs::create_dir(fixture.path("mount")).unwrap();
        fixture.path("mount/fleet.csv")
    })
    .unwrap();
    let night: Vec<&str> =
        NIGHT.iter().map(|word| if *word == "fleet.csv" { "mount/fleet.csv" } else { word }).collect();
    let night = [&night[..], &["--max-shrink", "10%", "-o", "night.prom"]].concat();
    let fleet = "vmid\n1\n2\n3\n4\n5\n";
    mount("..one", fleet);
    let stopped = metered.interrupted(2, || fixture.run(&night));
    mount("..two", fleet);
    assert_eq!(id(&fixture.run(&night).exits(0)), id(&stopped));
    let success = last_success(&fixture, "night.prom");
    assert_ne!(success, "0.0");
    mount("..three", "vmid\n1\n2\n");
    let shrunk = fixture.run(&night).exits(4);
    shrunk.assert_in_stderr("had 5 at its last complete run");
    mount("..four", fleet);
    metered.interrupted(1, || fixture.run(&night));
    assert_eq!(last_success(&fixture, "night.prom"), success);
}

#[test]
fn what_a_brake_stopped_is_for_a_person_to_go_on_with_or_to_begin_anew() {
    for brake in [&["--max-changed", "3"][..], &["--canary", "2"]] {
        let api = Api::start(|vmid, _| match vmid {
            "2" => error(404, "NOT_FOUND").into(),
            _ => success(201, true, 0).into(),
        });
        let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
        fixture.write("fleet.csv", "vmid\n1\n2\n3\n4\n5\n6\n7\n8\n");
        let night = [&NIGHT[..], brake].concat();
        let stopped = fixture.run(&night).exits(4);
        let calls = api.received().len();
        for contents in ["vmid\n1\n2\n3\n4\n5\n6\n7\n8\n", "vmid\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"] {
            fixture.write("fleet.csv", contents);
            for more in [&[][..], &["--dry-run"]] {
                let refused = fixture.run(&[&night[..], more].concat()).exits(4);
                let go_on = format!("v6fleet resume {}", id(&stopped));
                let anew = format!("{} {}", NIGHT[..BY_HAND].join(" "), brake.join(" "));
                refused.assert_in_stderr(&go_on);
                refused.assert_in_stderr(&format!("v6fleet {anew}\n"));
                assert_eq!((api.received().len(), refused.dir.is_none()), (calls, true));
            }
        }
        let gone_on =
            fixture.run(&["resume", id(&stopped), "--max-changed", "100%", "--canary", "0"]).exits(3);
        assert_eq!((id(&gone_on), gone_on.rows().len()), (id(&stopped), 8));
        let next = fixture.run(&[&NIGHT[..], &["--canary", "0"]].concat()).exits(3);
        assert_ne!(id(&next), id(&stopped), "the night after is a new run");
    }
}

#[test]
fn a_brake_is_not_forgotten_where_a_signal_or_a_kill_ends_the_run_before_it_has_come_to_rest() {
    for signal in ["TERM", "KILL"] {
        let api = Api::start(|vmid, _| match vmid {
            "1" => Step::Stall(vec![]),
            _ => success(201, true, 0).into(),
        });
        let fixture = Fixture::new().env("V6FLEET_BASE_URL", &api.base_url()).env("HOSTUP_API_KEY", "a-key");
        fixture.write("fleet.csv", "vmid\n1\n2\n3\n4\n5\n6\n7\n8\n");
        let night = [&NIGHT[..6], &["--concurrency", "3", "--resume", "--max-changed", "1"]].concat();
        let mut process = fixture.start(&night);
        let rehearsal = [&night[..], &["--dry-run"]].concat();
        let braked = || fixture.run(&rehearsal).stderr.contains("was stopped by a brake (max_changed)");
        eventually("the brake is noted", || process.stderr().contains("run begins") && braked());
        process.signal(signal);
        eventually("the run is over", || !process.is_running());
        let calls = api.received().len();
        let refused = fixture.run(&night).exits(4);
        refused.assert_in_stderr("was stopped by a brake (max_changed)");
        assert_eq!(api.received().len(), calls, "{signal}");
    }
}

#[test]
fn a_run_that_a_brake_stopped_is_done_with_once_another_was_begun_anew() {
    let metered = Metered::start();
    let mut fixture = metered.fixture().env("V6FLEET_RESUME", "1");
    // More than can be called before the brake has seen the second one on disk.
    let vmids: Vec<String> = (1..=200).map(|vmid| vmid.to_string()).collect();
    fixture.write("fleet.csv", on_one_rack(&vmids.iter().map(String::as_str).collect::<Vec<_>>()));
    let by_hand = &NIGHT[..BY_HAND];
    let stopped = fixture.run(&[by_hand, &["--max-changed", "1"]].concat()).exits(4);
    let refused = fixture.run(by_hand).exits(4);
    let anew = format!("\nOr begin anew, without --resume: V6FLEET_RESUME=0 v6fleet {}\n", by_hand.join(" "));
    refused.assert_in_stderr(&anew);
    fixture.set("V6FLEET_RESUME", "0");
    let (called, anew) = metered.called_in(|| fixture.run(by_hand).exits(0));
    let (left, done): (Vec<&Value>, Vec<&Value>) =
        stopped.rows().iter().partition(|row| row["failure"] == "not_attempted");
    let expected: Vec<&str> = left.into_iter().chain(done).map(|row| row["vmid"].as_str().unwrap()).collect();
    assert_eq!(called, expected, "what the brake spared comes first");
    fixture.set("V6FLEET_RESUME", "1");
    let next = fixture.run(by_hand).exits(0);
    assert!(id(&next) != id(&anew) && id(&next) != id(&stopped));
}

#[test]
fn resume_goes_on_with_the_fleets_run_whatever_was_tried_by_hand_since() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    fixture.write("fleet.csv", RACKS);
    let stopped = metered.interrupted(4, || fixture.run(&NIGHT));
    fixture.run(&[&NIGHT[..BY_HAND], &["--limit", "3"]].concat()).exits(0);
    assert_eq!(id(&fixture.run(&["resume"]).exits(0)), id(&stopped));
    let none = fixture.run(&["resume"]).exits(7);
    assert_eq!(none.stderr, "error: nothing to resume: every run is finished\n");
}

#[test]
fn a_fleet_too_large_for_one_night_is_got_through_in_several_and_no_vm_starves() {
    for resumed in [false, true] {
        let metered = Metered::start();
        let fixture = metered.fixture();
        let night = &NIGHT[..if resumed { NIGHT.len() } else { BY_HAND }];
        let mut called = Vec::new();
        for number in 0..4 {
            // With --resume, only a changed inventory makes a new run.
            let vms = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
            fixture.write("fleet.csv", on_one_rack(&vms) + &"\n".repeat(number));
            let (mut vmids, _) = metered.called_in(|| metered.interrupted(3, || fixture.run(night)));
            vmids.truncate(3);
            called.push(vmids);
        }
        let first: BTreeSet<_> = called[..3].iter().flatten().collect();
        assert_eq!(first.len(), 9, "{called:?}");
        assert_eq!(called[3], called[0], "{called:?}");
    }
}

#[test]
fn a_dry_run_says_what_resume_would_come_to() {
    let metered = Metered::start();
    let fixture = metered.fixture();
    fixture.write("fleet.csv", RACKS);
    let dry = |options: &[&str]| fixture.run(&[&NIGHT[..], &["--dry-run"], options].concat()).exits(0).stdout;
    assert!(
        dry(&[]).contains("\n--resume begins a new run: this job has no unfinished one.\n10 VMs selected")
    );
    let stopped = metered.interrupted(4, || fixture.run(&NIGHT));
    let calls = metered.api.received().len();
    let told = dry(&[]);
    let goes_on =
        format!("\n--resume goes on with run {}: 6 of 10 VMs left.\n6 VMs left for allocate", id(&stopped));
    assert!(told.contains(&goes_on) && told.contains("  c "), "{told}");
    let object: Value = serde_json::from_str(&dry(&["--format", "json"])).unwrap();
    assert_eq!((&object["goes_on_with"], &object["selected"]), (&id(&stopped).into(), &6.into()));
    assert!(dry(&["--rack", "a"]).contains("this job has no unfinished one"));
    assert_eq!(metered.api.received().len(), calls);
    fixture.write("fleet.csv", RACKS.to_owned() + "x,a,t\n");
    metered.interrupted(4, || fixture.run(&[&NIGHT[..], &["--skip-invalid"]].concat()));
    let calls = metered.api.received().len();
    let skips = fixture.run(&[&NIGHT[..], &["--dry-run", "--skip-invalid"]].concat()).exits(3);
    skips.assert_in_stdout("\n1 invalid row would be skipped.\n");
    fixture.write("fleet.csv", "vmid\n1\n");
    let told = dry(&[]);
    assert!(told.contains("\n--resume begins a new run: the inventory has changed since run "), "{told}");
    assert!(told.contains("Warning: the inventory has changed"), "{told}");
    assert_eq!(metered.api.received().len(), calls);
}
