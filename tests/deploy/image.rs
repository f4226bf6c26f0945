//! The image has in it all that the program is made of.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::example::{read, variables_in};

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

#[test]
fn every_variable_of_the_image_is_one_that_the_program_knows() {
    let known = v6fleet::cli::variables();
    let image = read("Containerfile").replace("V6FLEET_COMMIT", "");
    let set = variables_in(&image);
    assert!(set.len() == 2 && set.iter().all(|name| known.contains(*name)), "{set:?}");
}
