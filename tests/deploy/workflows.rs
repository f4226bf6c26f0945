//! The workflows run what the project itself runs, on the oldest toolchain that it promises.

use std::fs;
use std::process::Command;

use regex::Regex;
use support::skip::has;

use crate::example::finds_nothing_to_say;

fn workflow(name: &str) -> String {
    fs::read_to_string(format!(".github/workflows/{name}")).unwrap()
}

#[test]
fn a_change_is_checked_by_the_script_that_checks_every_change() {
    assert!(workflow("check.yml").contains("- run: .ci/run\n"));
}

#[test]
fn every_make_target_of_a_workflow_is_one_that_make_has() {
    let makefile = fs::read_to_string("Makefile").unwrap();
    let release = workflow("release.yml");
    let targets = Regex::new(r"- run: make ([a-z-]+)").unwrap();
    let targets: Vec<&str> =
        targets.captures_iter(&release).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(targets.contains(&"package-test") && targets.contains(&"dist"), "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}

#[test]
fn the_workflows_build_on_the_oldest_toolchain_that_is_promised() {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string("Cargo.toml").unwrap()).unwrap();
    let oldest = manifest["package"]["rust-version"].as_str().unwrap();
    for name in ["check.yml", "release.yml"] {
        assert!(workflow(name).contains(&format!(" rust:{oldest}-bookworm\n")), "{name}");
    }
}

#[test]
fn every_field_of_a_workflow_is_one_that_there_is() {
    if !has("check-jsonschema") {
        return;
    }
    let mut check = Command::new("check-jsonschema");
    check.args(["--quiet", "--builtin-schema", "vendor.github-workflows"]);
    finds_nothing_to_say(
        check.args(["check.yml", "release.yml"].map(|name| format!(".github/workflows/{name}"))),
    );
}
