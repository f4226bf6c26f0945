//! Files that are not a run's to overwrite, and places where none can be put: found before the first call, or lived with.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::fixture::{Fixture, eventually};
use crate::sandbox::Sandbox;
use crate::skip::skipped_but_on_ci;
use crate::strace::{can, traced, wrapped};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// A fixture with one file of every kind that a run reads, the last of which are links and hard links to others.
fn fixture(sandbox: &Sandbox) -> Fixture {
    let fixture = Fixture::at(sandbox).env("CREDENTIALS_DIRECTORY", "creds");
    for (name, content) in [
        ("fleet.csv", "vmid\n10000\n10001\n"),
        ("ids.csv", "10000\n"),
        ("key.json", "a-key\n"),
        ("creds/api-key", "a-key\n"),
        ("mine.toml", "rate = 'none'\n"),
        ("config/v6fleet/config.toml", "rate = 'none'\n"),
        ("state/v6fleet/sandbox.db", ""),
    ] {
        fixture.write(name, content);
    }
    for (link, target) in [
        ("soft.csv", "ids.csv"),
        ("config.csv", "config/v6fleet/config.toml"),
        ("mine.csv", "mine.toml"),
        ("key.csv", "creds/api-key"),
        ("ledger.csv", "state/v6fleet/ledger.db"),
        ("lock.csv", "state/v6fleet/ledger.db.lock"),
        ("wal.csv", "state/v6fleet/ledger.db-wal"),
        ("world.csv", "state/v6fleet/ledger.db.world"),
        ("rehearsals.csv", "state/v6fleet/sandbox.db"),
    ] {
        symlink(target, fixture.path(link)).unwrap();
    }
    fs::hard_link(fixture.path("ids.csv"), fixture.path("hard.csv")).unwrap();
    fixture
}

const REFUSED: &str = "the run reads this file";

#[test]
fn no_report_takes_the_place_of_what_is_read_or_kept_by_whatever_name() {
    let sandbox = Sandbox::start(&[]);
    let fixture = fixture(&sandbox);
    for (args, word) in [
        (&["--vmid", "@ids.csv", "-o", "ids.csv"][..], REFUSED),
        (&["--vmid", "!@ids.csv", "-o", "./ids.csv"], REFUSED),
        (&["--vmid", "@ids.csv", "-o", "soft.csv"], REFUSED),
        (&["--vmid", "@ids.csv", "-o", "hard.csv"], REFUSED),
        (&["--vmid", "@soft.csv", "-o", "hard.csv"], REFUSED),
        (&["--api-key-file", "key.json", "-o", "key.json"], REFUSED),
        (&["-o", "key.csv"], REFUSED),
        (&["-o", "config.csv"], REFUSED),
        (&["--config", "mine.toml", "-o", "mine.csv"], REFUSED),
        (&["-o", "ledger.csv"], REFUSED),
        (&["-o", "lock.csv"], REFUSED),
        (&["-o", "wal.csv"], REFUSED),
        (&["-o", "world.csv"], REFUSED),
        (&["-o", "rehearsals.csv"], REFUSED),
        (&["--sandbox", "-o", "ledger.csv"], REFUSED),
        (&["--sandbox", "-o", "lock.csv"], REFUSED),
        (&["--ledger", "new.db", "-o", "ledger.csv"], REFUSED),
        (&["--ledger", "new.json", "-o", "new.json"], REFUSED),
        (&["--ledger", "new", "-o", "a.csv", "-o", "a.csv"], "are one file"),
        (&["-o", "a.csv", "-o", "state/../a.csv"], "state/../a.csv"),
        (&["-o", "a.csv", "-o", "./a.csv"], "are one file"),
    ] {
        let outcome = fixture.run(&[&RUN[..], args].concat());
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(word), "{args:?}: {}", outcome.stderr);
    }
    let made = ["reports", "new", "new.json", "a.csv", "state/v6fleet/ledger.db"]
        .map(|name| fixture.path(name).exists());
    assert_eq!((made, sandbox.calls().len()), ([false; 5], 0), "nothing was made, nothing was called");

    fixture.run(&[&RUN[..], &["--vmid", "@ids.csv", "-o", "mine.csv", "-o", "all.json"]].concat()).exits(0);
    assert!(fixture.read("mine.toml").starts_with("vmid,"), "a link is followed where nothing is read there");
    let commands: [&[&str]; 9] = [
        &["report", "-o", "fleet.csv"],
        &["report", "-o", "ids.csv"],
        &["report", "-o", "ledger.csv"],
        &["report", "-o", "config.csv"],
        &["report", "-o", "a.csv", "-o", "./a.csv"],
        &["diff", "latest", "latest", "-o", "ledger.csv"],
        &["diff", "latest", "latest", "--vmid", "@ids.csv", "-o", "hard.csv"],
        &["audit", "fleet.csv", "-o", "fleet.csv"],
        &["audit", "fleet.csv", "--vmid", "@ids.csv", "-o", "soft.csv"],
    ];
    for command in commands {
        let outcome = fixture.run(command);
        assert_eq!(outcome.code, Some(2), "{command:?}: {}", outcome.stderr);
    }
    for (files, output) in [
        (&["--api-key-file", "key.json"][..], "json:key.json"),
        (&[], "key.csv"),
        (&["--sandbox", "--world", "world.toml"], "csv:world.toml"),
        (&["--ca-file", "ca.pem"], "csv:./ca.pem"),
    ] {
        let live = ["audit", "fleet.csv", "--api", "v2", "--live", "-o", output];
        fixture.run(&[&live[..], files].concat()).exits(2).assert_in_stderr(REFUSED);
    }
    fixture.run(&[&RUN[..], &["--deadline", "1ms", "--rate", "1/m", "--vmid", "@ids.csv"]].concat());
    for output in ["fleet.csv", "hard.csv", "ledger.csv", "config.csv"] {
        let outcome = fixture.run(&["resume", "-o", output]);
        assert!(matches!(outcome.code, Some(2 | 7)), "{output}: {:?} {}", outcome.code, outcome.stderr);
    }
    assert_eq!((fixture.read("fleet.csv").len(), fixture.read("ids.csv").len()), (17, 6));
}

#[test]
fn a_skipped_csv_that_is_not_ours_stays_and_nothing_is_called() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10000\nten\n");
    let run = [&RUN[..], &["--skip-invalid", "--output-dir", "none"]].concat();
    for (name, output) in [("skipped.csv", "report.csv"), ("out/skipped.csv", "out/report.csv")] {
        fixture.write(name, "vmid\n10000\n");
        let refused = fixture.run(&[&run[..], &["-o", output]].concat()).exits(2);
        refused.assert_in_stderr("this file is no such list");
        assert_eq!(fixture.read(name), "vmid\n10000\n");
    }
    let own = fixture.run(&[&run[..], &["-o", "skipped.csv"]].concat()).exits(2);
    own.assert_in_stderr("are one file");
    fixture.write("list/skipped.csv", "vmid\n10000\nten\n");
    let of_that_name =
        ["run", "list/skipped.csv", "--action", "allocate", "--skip-invalid", "--output-dir", "none"];
    fixture.run(&[&of_that_name[..], &["-o", "list/report.csv"]].concat()).exits(2);
    assert_eq!(sandbox.calls().len(), 0);

    fs::remove_file(fixture.path("skipped.csv")).unwrap();
    for _ in 0..2 {
        fixture.run(&[&run[..], &["-o", "report.csv"]].concat()).exits(3);
        assert_eq!(fixture.read("skipped.csv").lines().count(), 2, "our own list makes room for the next");
    }
}

#[test]
fn a_report_onto_a_file_that_is_mounted_by_itself_is_written_in_place_and_says_so() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    for name in ["host.csv", "report.csv", "fixed/report.csv"] {
        fixture.write(name, "old ".repeat(1_000));
    }
    let probe = Command::new("unshare").args(["-rm", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        skipped_but_on_ci("no mount namespace may be made");
        return;
    }
    let run = "\"$0\" \"$@\"; code=$?; cat report.csv > seen; exit $code";
    // Also where the directory takes no file, as in a container whose root is read-only.
    let read_only =
        "mount --bind fixed fixed && mount -o remount,bind,ro fixed && ln -sf fixed/report.csv report.csv";
    let in_it = format!("{read_only} && mount --bind host.csv fixed/report.csv");
    for mount in ["mount --bind host.csv report.csv", &in_it] {
        let inside = ["unshare", "-rm", "sh", "-c", &format!("{mount} && {{ {run}; }}")];
        let outcome =
            fixture.spawn(wrapped(&inside, &fixture, &[&RUN[..], &["-o", "report.csv"]].concat())).end();
        let outcome = outcome.exits(0);
        let log = &outcome.stderr;
        assert!(log.contains("written in place") && log.contains("report.csv"), "{log}");
        for name in ["host.csv", "seen"] {
            assert_eq!(fixture.read(name).lines().count(), 3, "{mount}: {name}");
        }
        let is_left =
            |file: &std::path::PathBuf| file.extension().is_some_and(|extension| extension == "tmp");
        assert!(!fixture.files().iter().any(is_left));
        fixture.write("host.csv", "old ".repeat(1_000));
    }
    assert!(fixture.read("fixed/report.csv").starts_with("old"), "outside of the mount nothing was written");
}

#[test]
fn whatever_keeps_a_report_from_taking_its_place_it_is_written_there_all_the_same() {
    if !can("rename:error=EBUSY") {
        return;
    }
    let sandbox = Sandbox::start(&[]);
    for error in ["EBUSY", "EXDEV"] {
        let fixture = Fixture::at(&sandbox);
        fixture.write("fleet.csv", "vmid\n10000\n10001\n");
        fixture.write("report.csv", "old");
        let injection = format!("inject=rename,renameat,renameat2:error={error}");
        let run = [&RUN[..], &["-o", "report.csv", "-o", "new.jsonl", "--output-dir", "none"]].concat();
        let outcome = fixture.spawn(traced(&["-e", &injection], &fixture, &run)).end().exits(1);
        outcome.assert_in_stderr("written in place");
        outcome.assert_in_stderr("new.jsonl: cannot be written");
        assert_eq!(fixture.read("report.csv").lines().count(), 3);
    }
}

#[test]
fn what_a_killed_report_left_behind_is_swept_and_what_is_being_written_is_not() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", "vmid\n10000\n10001\n");
    fixture.run(&RUN).exits(0);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, fixture.path("pipe.jsonl"), fifo, 0o600.into(), 0).unwrap();
    let left = || {
        let files = fixture.files().into_iter();
        files.filter(|file| file.extension().is_some_and(|extension| extension == "tmp")).count()
    };
    let stuck = || {
        let before = left();
        let report = fixture.start(&["report", "-o", "stuck.csv", "-o", "pipe.jsonl"]);
        // Whether it can be written is tried before, with a file that goes at once.
        let mut looks = 0;
        eventually("a report waits for a reader of its pipe", || {
            looks = if left() > before { looks + 1 } else { 0 };
            looks == 20
        });
        report
    };
    let writing = stuck();
    stuck().kill();
    assert_eq!(left(), 2);
    fixture.write(".v6fleet-notes.tmp.txt", "not ours");
    fixture.run(&["report", "-o", "other.csv"]).exits(0);
    assert_eq!(left(), 1, "the one whose process was killed is gone");
    writing.kill();
    fixture.run(&["report", "-o", "other.csv"]).exits(0);
    assert_eq!((left(), fixture.read(".v6fleet-notes.tmp.txt").as_str()), (0, "not ours"));
}

/// Names that a terminal would obey, or that read as another name.
const NAMES: [&str; 4] = ["a\u{202e}vsc", "b\u{9b}31m", "c\u{61c}\u{2066}", "d\u{1b}[2J\nerror: none"];

#[test]
fn names_that_would_mislead_are_escaped_wherever_they_are_shown() {
    let sandbox = Sandbox::start(&[]);
    let misleads = |text: &str| text.chars().any(|c| c != '\n' && v6fleet::text::is_deceptive(c));
    for name in NAMES {
        let fixture = Fixture::at(&sandbox);
        let named = |extension: &str| format!("{name}{extension}");
        fixture.write(&named(".csv"), "vmid,rack_id\n10000,dc1r27\n");
        fixture.write(&named(".bad.csv"), "vmid\nten\n");
        fixture.write(&named(".toml"), "rate = 'fast'\n");
        fixture.write(&named(".key"), "\n");
        fixture.write(&named(".db"), "no ledger, but long enough to have a header of its own".repeat(10));
        let (good, ledger, key) = (named(".csv"), named(".db"), named(".key"));
        let commands: [&[&str]; 16] = [
            &[
                "run",
                &good,
                "--action",
                "allocate",
                "--ledger",
                &named("/l.db"),
                "-o",
                &named(".jsonl"),
                "-vv",
            ],
            &[
                "run",
                &good,
                "--action",
                "allocate",
                "--output-dir",
                &named("/out"),
                "--log-format",
                "json",
                "-vv",
            ],
            &["run", &good, "--action", "allocate", "--resume", "--dry-run"],
            &["run", &named(".bad.csv"), "--action", "allocate"],
            &["run", &named(".nosuch.csv"), "--action", "allocate"],
            &["run", &good, "--action", "allocate", "-o", &good],
            &["run", &good, "--action", "allocate", "-o", &named("/nosuch/a.csv")],
            &["run", &good, "--action", "allocate", "-o", &named(".xlsx")],
            &["run", &good, "--action", "allocate", "--vmid", &format!("@{name}")],
            &["run", &good, "--action", "allocate", "--api-key-file", &key],
            &["run", &good, "--action", "allocate", "--ca-file", &key],
            &["run", &good, "--config", &named(".toml")],
            &["run", &good, "--ledger", &ledger],
            &["run", &good, "--sandbox", "--world", &key],
            &["report", "--ledger", &named("/nosuch.db")],
            &["audit", &good, "--log-format", "json"],
        ];
        for command in commands {
            let outcome = fixture.run(command);
            assert!(!misleads(&outcome.stdout), "{command:?}: {:?}", outcome.stdout);
            assert!(!misleads(&outcome.stderr), "{command:?}: {:?}", outcome.stderr);
            assert!(!outcome.stderr.contains("\nerror: none"), "{command:?}: {:?}", outcome.stderr);
        }
    }
}
