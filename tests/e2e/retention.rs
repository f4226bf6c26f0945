//! How long reports stay: as long as their run, and what others have made of them stays after it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::fixture::Fixture;
use crate::script::{Api, success};

/// An API of which every VM is there already.
fn fixture() -> Fixture {
    let api = Api::start(|_, _| success(200, false, 100).into());
    let fixture = api.fixture();
    fixture.write("fleet.csv", "vmid\n10000\n");
    fixture
}

/// One more night; the directory of its reports.
fn night(fixture: &Fixture, options: &[&str]) -> PathBuf {
    let run = ["run", "fleet.csv", "--action", "allocate"];
    fixture.run(&[&run[..], options].concat()).exits(0).dir.unwrap()
}

fn id(dir: &Path) -> &str {
    dir.file_name().unwrap().to_str().unwrap()
}

/// What there is in the output directory.
fn kept(fixture: &Fixture) -> BTreeSet<PathBuf> {
    fs::read_dir(fixture.path("reports")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn reports_go_with_their_run_and_those_of_a_pinned_one_stay() {
    let fixture = fixture();
    let two = ["--keep-runs", "2"];
    let [first, second, third] = [(); 3].map(|()| night(&fixture, &two));
    assert_eq!(kept(&fixture), [second.clone(), third].into());
    assert!(!first.exists());

    fixture.run(&["runs", "--pin", id(&second)]).exits(0);
    let [fourth, fifth] = [(); 2].map(|()| night(&fixture, &[&two[..], &["-o", "mine.csv"]].concat()));
    assert_eq!(kept(&fixture), [second.clone(), fourth, fifth].into());
    assert_eq!(fs::read_dir(&second).unwrap().count(), 3);

    fixture.run(&["runs", "--unpin", id(&second)]).exits(0);
    let last = night(&fixture, &["--keep-runs", "1"]);
    assert_eq!(kept(&fixture), [last].into());
    assert!(fixture.path("mine.csv").exists(), "what was written elsewhere is not the run's");
}

#[test]
fn reports_go_with_their_run_also_where_nobody_could_be_shown_its_recap() {
    let fixture = fixture();
    let mut unread = fixture.command(&["run", "fleet.csv", "--action", "allocate"]);
    unread.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = unread.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(kept(&fixture).len(), 1);
    let last = night(&fixture, &["--keep-runs", "1"]);
    assert_eq!(kept(&fixture), [last].into());
}

#[test]
fn what_others_have_made_of_reports_stays() {
    let fixture = fixture();
    let [edited, joined, linked, moved, replaced, whole] = [(); 6].map(|()| night(&fixture, &[]));
    let html = fs::read(edited.join("report.html")).unwrap();
    fs::write(edited.join("report.html"), [&html[..], b"<!-- seen -->"].concat()).unwrap();
    fs::write(joined.join("notes.txt"), "mine").unwrap();
    fs::create_dir(joined.join("more")).unwrap();
    fs::rename(linked.join("report.json"), fixture.path("precious.json")).unwrap();
    symlink(fixture.path("precious.json"), linked.join("report.json")).unwrap();
    fs::rename(&moved, fixture.path("archive")).unwrap();
    symlink(fixture.path("archive"), &moved).unwrap();
    fs::remove_file(replaced.join("report.csv")).unwrap();
    fs::create_dir(replaced.join("report.csv")).unwrap();

    let run = ["run", "fleet.csv", "--action", "allocate", "--keep-runs", "1"];
    let outcome = fixture.run(&run).exits(0);
    let names = |dir: &PathBuf| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&edited), ["report.html"]);
    assert_eq!(names(&joined), ["more", "notes.txt"]);
    assert_eq!(names(&linked), ["report.json"]);
    assert!(fixture.path("precious.json").is_file());
    assert_eq!(names(&fixture.path("archive")), ["report.csv", "report.html", "report.json"]);
    assert_eq!(names(&replaced), ["report.csv"]);
    assert!(!whole.exists());
    let stays = outcome.stderr.matches("no longer what the run had written: it stays").count();
    assert_eq!(stays, 3, "{}", outcome.stderr);
}
