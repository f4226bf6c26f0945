//! What each verb of the command line does, one file a verb; and the exit code that comes of it.
//!
//! A command is first prepared: whatever is wrong then is a [`failure::Refusal`], and nothing is called. Then it is
//! carried out: whatever goes wrong there is [`failure::Broken`].

mod access;
mod audit;
mod check;
mod completion;
mod config;
mod continuation;
mod copy;
mod descriptors;
mod diff;
mod dry_run;
mod ended;
mod execution;
mod exit;
mod failure;
mod history;
mod inventory;
mod job;
mod ledger;
mod log;
mod monitor;
mod named;
mod outputs;
mod own_files;
mod past;
mod planned;
mod recap;
mod rehearsal;
mod report;
mod resume;
mod retyped;
mod run;
mod runs;
mod sandbox;
mod signals;
mod spared;
mod spool;
mod staging;
mod status;
mod stdout;
mod stop;
mod work;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use tracing::{error, warn};

use crate::cli;
use crate::config::{Command, Config, ConfigError, LogForm};
use crate::progress::Screen;
use ended::Ended;
use failure::{Broken, Failure, Refusal};
use log::log_to;
use monitor::monitored;
use stdout::print;

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit_code) = completion::answer(&args, cli::command) {
        return ExitCode::from(exit_code);
    }
    let Config { log, warnings, monitor, command } = match Config::read(args) {
        Ok(config) => config,
        Err(ConfigError::Arguments(error)) => {
            // Nobody is left to be told that the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
        Err(error) => return complain(&Refusal::from(error).into(), &Screen::stderr()),
    };
    let screen = Screen::stderr();
    let form = log.form;
    log_to(&screen, log);
    for warning in warnings {
        warn!("{warning}");
    }
    let job = || dispatch(command.map_err(Refusal::from)?, &screen);
    let ended = monitored(monitor.as_ref(), job, |failure| match form {
        // Programs that read every line as an object are given no other.
        LogForm::Json => error!(exit_code = failure.exit_code(), "{}", failure.in_words()),
        LogForm::Text => {}
    });
    match (ended, form) {
        (Ok(exit_code), _) => ExitCode::from(exit_code),
        (Err(failure), LogForm::Json) => ExitCode::from(failure.exit_code()),
        (Err(failure), LogForm::Text) => complain(&failure, &screen),
    }
}

fn complain(failure: &Failure, mut screen: &Screen) -> ExitCode {
    // Without a terminal nobody is left to be told.
    let words = failure.in_words();
    let _ = writeln!(screen, "error: {}", screen.spell(&words));
    ExitCode::from(failure.exit_code())
}

/// Prepares a command and carries it out.
fn dispatch(command: Command, screen: &Screen) -> Result<Ended, Failure> {
    let exit_code = match command {
        Command::Run(settings) => return run::run(&settings, screen),
        Command::Resume(request) => return resume::resume(&request, screen),
        Command::Work(request) => return work::work(&request, screen),
        Command::Stop(settings) => stop::stop(&settings)?,
        Command::Inventory(settings) => inventory::prepare(&settings)?.carry_out()?,
        Command::DryRun(settings) => dry_run::prepare(&settings)?.carry_out()?,
        Command::Report(settings) => report::report(&settings)?,
        Command::Status(settings) => status::status(&settings)?,
        Command::Runs(settings) => runs::prepare(settings)?.carry_out()?,
        Command::History(settings) => history::prepare(&settings)?.carry_out()?,
        Command::Diff(settings) => diff::diff(&settings)?,
        Command::Audit(settings) => audit::audit(&settings, screen)?,
        Command::Copy(settings) => copy::prepare(&settings, screen)?.carry_out()?,
        Command::Sandbox(settings) => sandbox::prepare(*settings)?.carry_out()?,
        Command::Check(settings) => check::check(&settings)?,
        Command::Config(showing) => config::show(&showing)?,
        Command::Completions(shell) => printed(&completion::script(&shell)?)?,
        Command::Man(verb) => printed(&cli::manual(verb.as_deref()).map_err(Refusal::usage)?)?,
    };
    Ok(Ended { exit_code, news: None })
}

fn printed(bytes: &[u8]) -> Result<u8, Broken> {
    print(bytes)?;
    Ok(exit::COMPLETE)
}
