//! The list of options is the program's own help.

use std::fs;

use crate::{FENCE, is_being_updated, read, stdout};

const OPTIONS: &str = "docs/options.md";
const HEAD: &str = "# Options

What `v6fleet COMMAND --help` says, command by command. This page is made of it, with `make docs`, and a test keeps it so; what
is wrong here is mended in `src/cli/`. How flags, environment and configuration file go together is told in
[operations](operations.md#settings).
";

fn options() -> String {
    let program = v6fleet::cli::command();
    let commands: Vec<String> = program.get_subcommands().flat_map(names).collect();
    let link = |name: &String| format!("- [`{name}`](#v6fleet-{})\n", name.replace(' ', "-"));
    let links: Vec<String> = commands.iter().map(link).collect();
    let sections: Vec<String> = commands.iter().map(|name| section(&format!(" {name}"))).collect();
    [vec![format!("{HEAD}\n")], links, vec![section("")], sections].concat().concat()
}

/// A command's name, and those of what it is divided into.
fn names(command: &clap::Command) -> Vec<String> {
    let name = command.get_name();
    let parts = command.get_subcommands().map(|part| format!("{name} {}", part.get_name()));
    std::iter::once(name.to_owned()).chain(parts).collect()
}

fn section(command: &str) -> String {
    let help = stdout(format!("{command} --help").trim());
    let help: String = help.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    format!("\n## v6fleet{command}\n\n{FENCE}text\n{help}{FENCE}\n")
}

/// With `UPDATE_DOCS` in the environment it writes them there instead.
#[test]
fn the_options_are_the_programs_own_help() {
    let options = options();
    if is_being_updated() {
        return fs::write(OPTIONS, options).unwrap();
    }
    assert!(read(OPTIONS) == options, "outdated; `make docs` brings it up to date\n{options}");
}
