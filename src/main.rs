//! `v6fleet`: see the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    v6fleet::command::main(std::env::args_os())
}
