//! Stands in for the real command line: `v6fleet sandbox …` only.

use clap::Parser;
use v6fleet::cli::SandboxArgs;

#[derive(Parser)]
enum Command {
    Sandbox(SandboxArgs),
}

fn main() -> anyhow::Result<()> {
    let Command::Sandbox(args) = Command::parse();
    Ok(v6fleet::command::sandbox::serve(args, &mut std::io::stdout())?)
}
