//! What lies in deploy/ fits the program: its commands are ones that it takes, its exit codes and delays are the program's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::skip::has;
use v6fleet::stop::Stop;

const PROGRAM: &str = "/usr/local/bin/v6fleet";

fn read(name: &str) -> String {
    fs::read_to_string(format!("deploy/{name}")).unwrap()
}

/// The only line that has the text, from there on.
fn after<'a>(file: &'a str, text: &str) -> &'a str {
    let mut lines =
        file.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(text));
    let (_, rest) = lines.next().unwrap();
    assert!(lines.next().is_none(), "{text} twice");
    rest.trim()
}

/// The items of a YAML list, each on its line, under the line that ends with a key.
fn list<'a>(file: &'a str, key: &str) -> Vec<&'a str> {
    let lines = file.lines().skip_while(|line| !line.ends_with(&format!(" {key}:"))).skip(1);
    lines.map_while(|line| line.trim().strip_prefix("- ")).collect()
}

#[test]
fn every_command_is_one_that_the_program_takes_and_goes_on_where_it_was_stopped() {
    let (service, crontab, kubernetes) = (read("v6fleet.service"), read("crontab"), read("kubernetes.yaml"));
    let typed = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let in_pod = list(&kubernetes, "args").into_iter().map(str::to_owned).collect();
    let commands = [typed(after(&service, PROGRAM)), typed(after(&crontab, PROGRAM)), in_pod];
    for arguments in commands {
        let words = std::iter::once("v6fleet".to_owned()).chain(arguments.clone());
        let matches = v6fleet::cli::command().try_get_matches_from(words).unwrap();
        let (verb, run) = matches.subcommand().unwrap();
        assert!(verb == "run" && run.get_flag("resume"), "{arguments:?}");
    }
}

#[test]
fn every_variable_is_one_that_the_program_knows() {
    let known = v6fleet::cli::variables();
    for file in ["v6fleet.service", "Containerfile"] {
        let file = read(file);
        let names = file.match_indices("V6FLEET_").map(|(at, _)| file[at..].split('=').next().unwrap());
        for name in names.filter(|name| !name.starts_with("V6FLEET_COMMIT")) {
            assert!(known.contains(name), "{name}");
        }
    }
}

#[test]
fn a_pod_is_followed_by_another_where_that_can_go_on_and_only_there() {
    let kubernetes = read("kubernetes.yaml");
    let final_codes: Vec<u8> = after(&kubernetes, "values:")
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|code| code.parse().unwrap())
        .collect();
    for stop in Stop::ALL {
        let goes_on = match stop {
            Stop::MaxWait | Stop::Deadline | Stop::Interrupted | Stop::Terminated => true,
            Stop::MaxDrift
            | Stop::MaxChanged
            | Stop::MaxFailed
            | Stop::Canary
            | Stop::AllFailed
            | Stop::CertificateRefused
            | Stop::KeyRefused => false,
        };
        assert_eq!(final_codes.contains(&stop.exit_code()), !goes_on, "{stop}");
    }
    assert!(final_codes.contains(&3) && final_codes.is_sorted());
}

#[test]
fn a_stop_has_more_time_than_the_calls_in_flight_may_take() {
    let (service, kubernetes) = (read("v6fleet.service"), read("kubernetes.yaml"));
    for seconds in [after(&service, "TimeoutStopSec="), after(&kubernetes, "terminationGracePeriodSeconds:")]
    {
        assert!(seconds.parse::<u64>().unwrap() > 30, "{seconds}");
    }
}

#[test]
fn an_image_is_built_from_all_that_the_program_is_made_of() {
    let containerfile = read("Containerfile");
    let copied: Vec<&str> = containerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.rsplit_once(' '))
        .flat_map(|(sources, _)| sources.split(' '))
        .collect();
    // The compiler notes the files that went into the program and its library, beside what it made of them.
    let deps = Path::new(env!("CARGO_BIN_EXE_v6fleet")).with_file_name("deps");
    let notes = fs::read_dir(deps).unwrap().map(|entry| entry.unwrap().path());
    let notes = notes.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.extension().is_some_and(|end| end == "d")
            && name.trim_start_matches("lib").starts_with("v6fleet-")
    });
    let notes: String = notes.map(|path| fs::read_to_string(path).unwrap()).collect();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let files = notes.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    let files: BTreeSet<&str> = files
        .map(|path| path.trim_end_matches(':'))
        .map(|path| path.strip_prefix(here).unwrap_or(path))
        // What the compiler made lies elsewhere, or under target/; Clippy leaves notes too.
        .filter(|path| !path.starts_with('/') && !path.starts_with("target/") && *path != "clippy.toml")
        .collect();
    assert!(files.contains("src/main.rs") && files.contains("src/lib.rs"), "{files:?}");
    for file in files.into_iter().chain([
        ".cargo/config.toml",
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "benches/pace.rs",
        "tests/support/Cargo.toml",
    ]) {
        assert!(copied.iter().any(|copied| Path::new(file).starts_with(copied)), "{file} is not copied");
    }
}

fn finds_nothing_to_say(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn systemd_finds_nothing_to_say_of_the_service_and_the_timer() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let units = ["v6fleet.service", "v6fleet.timer"].map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, read(name).replace(PROGRAM, env!("CARGO_BIN_EXE_v6fleet"))).unwrap();
        path
    });
    finds_nothing_to_say(Command::new("systemd-analyze").arg("verify").args(units));
}

#[test]
fn every_field_of_the_cron_job_is_one_that_the_oldest_kubernetes_it_names_has() {
    if !has("kubernetes-validate") {
        return;
    }
    let kubernetes = read("kubernetes.yaml");
    let (_, version) = kubernetes.split_once("Kubernetes (").unwrap();
    let (version, _) = version.split_once(" or later)").unwrap();
    let mut validate = Command::new("kubernetes-validate");
    validate.args(["--strict", "--quiet", "--kubernetes-version", version, "deploy/kubernetes.yaml"]);
    finds_nothing_to_say(&mut validate);
}
