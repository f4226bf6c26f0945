//! The Debian package has in it what deploy/ and the program have. `make package-test` installs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use globset::Glob;
use support::fixture::binary;

use crate::example::finds_nothing_to_say;
use crate::systemd::UNITS;

/// What goes into the package, and where to.
fn assets() -> Vec<(String, String)> {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string("Cargo.toml").unwrap()).unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap().clone();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    assets.iter().map(|asset| (text(&asset[0]), text(&asset[1]))).collect()
}

/// The file that an asset's pattern takes, if it does.
fn takes(pattern: &str, file: &str) -> bool {
    Glob::new(pattern).unwrap().compile_matcher().is_match(file)
}

#[test]
fn every_file_that_lies_in_deploy_is_in_the_package_and_every_pattern_takes_some() {
    let assets = assets();
    let files = |folder: &str| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    // An image and what makes a package are built from the source.
    let apart = ["deploy/Containerfile", "deploy/pages.sh"];
    for file in files("deploy").iter().filter(|file| !apart.contains(&file.as_str())) {
        assert!(assets.iter().any(|(pattern, _)| takes(pattern, file)), "{file} is not in the package");
    }
    for (pattern, _) in assets.iter().filter(|(pattern, _)| !pattern.starts_with("target/")) {
        let folder = Path::new(pattern).parent().unwrap().display().to_string();
        let folder = if folder.is_empty() { ".".to_owned() } else { folder };
        let taken = files(&folder).iter().any(|file| takes(pattern, file.trim_start_matches("./")));
        assert!(taken, "{pattern} takes no file");
    }
}

#[test]
fn the_units_go_where_systemd_looks_for_them() {
    let assets = assets();
    for unit in UNITS {
        let there = assets.iter().find(|(pattern, _)| takes(pattern, &format!("deploy/{unit}"))).unwrap();
        assert_eq!(there.1, "usr/lib/systemd/system/", "{unit}");
    }
}

#[test]
fn the_scripts_of_the_package_are_ones_that_a_shell_takes() {
    for script in
        ["deploy/debian/postinst", "deploy/debian/prerm", "deploy/debian/postrm", "tests/package.sh"]
    {
        finds_nothing_to_say(Command::new("sh").args(["-n", script]));
        let is_run_by_dpkg = script.starts_with("deploy/");
        let mode = fs::metadata(script).unwrap().permissions().mode();
        assert!(!is_run_by_dpkg || mode & 0o111 == 0o111, "{script} cannot be run");
    }
}

#[test]
fn every_command_has_its_manual_page_and_every_shell_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    finds_nothing_to_say(Command::new("sh").arg("deploy/pages.sh").arg(binary()).arg(dir.path()));
    let has = |file: &str| {
        let length = fs::metadata(dir.path().join(file)).map(|file| file.len());
        assert!(length.is_ok_and(|length| length > 50), "{file}");
    };
    has("man/v6fleet.1");
    for command in v6fleet::cli::command().get_subcommands().map(clap::Command::get_name) {
        has(&format!("man/v6fleet-{command}.1"));
    }
    for shell in ["v6fleet.bash", "_v6fleet", "v6fleet.fish"] {
        has(&format!("completions/{shell}"));
    }
}
