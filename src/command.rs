//! What each verb of the command line does, one file a verb; and the exit code that comes of it.

mod audit;
mod completion;
mod descriptors;
mod diff;
mod dry_run;
mod execution;
mod history;
mod job;
mod log;
mod outputs;
mod ping;
mod report;
mod resume;
mod run;
mod runs;
mod sandbox;
mod signals;
mod spared;
mod staging;
mod target;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use clap_mangen::Man;
use tracing::warn;

use crate::api::ClientError;
use crate::cli::{self, Command};
use crate::config::{Config, ConfigError};
use crate::ledger::LedgerError;
use crate::progress::Screen;
use crate::report::ReportError;
use crate::text::escape_lines;
use log::log_to;
use ping::pinged;
use sandbox::SandboxError;

/// Exit codes that are no [`crate::stop::Stop`].
mod exit {
    pub(super) const COMPLETE: u8 = 0;
    pub(super) const INTERNAL: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const FAILED: u8 = 3;
    pub(super) const BRAKED: u8 = 4;
    pub(super) const LOCKED: u8 = 6;
    pub(super) const NOTHING: u8 = 7;
    pub(super) const CHANGES: u8 = 10;
    pub(super) const DRIFT: u8 = 11;
}

/// Why a command did not get to its end, and its exit code.
#[derive(Debug)]
struct CommandError {
    exit_code: u8,
    error: anyhow::Error,
}

impl CommandError {
    /// What was asked for cannot be done: nothing was called.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: exit::USAGE, error: error.into() }
    }

    fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { exit_code: exit::INTERNAL, error: error.into() }
    }

    fn nothing(message: impl Display) -> Self {
        Self { exit_code: exit::NOTHING, error: anyhow::anyhow!("{message}") }
    }
}

impl From<LedgerError> for CommandError {
    fn from(error: LedgerError) -> Self {
        let exit_code = match &error {
            LedgerError::Locked { .. } => exit::LOCKED,
            LedgerError::Missing(_)
            | LedgerError::NotALedger(_)
            | LedgerError::Newer { .. }
            | LedgerError::UnfitFileSystem { .. }
            | LedgerError::Unusable { .. }
            | LedgerError::UnknownRun(_)
            | LedgerError::AmbiguousRun(_)
            | LedgerError::Mixed { .. } => exit::USAGE,
            LedgerError::Io { .. }
            | LedgerError::Replaced { .. }
            | LedgerError::Engine { .. }
            | LedgerError::Miscounted { .. }
            | LedgerError::NoWriter(_)
            | LedgerError::WriterGone
            | LedgerError::SettledTwice(_) => exit::INTERNAL,
        };
        Self { exit_code, error: error.into() }
    }
}

impl From<ReportError> for CommandError {
    fn from(error: ReportError) -> Self {
        Self::internal(error)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::usage(error)
    }
}

impl From<SandboxError> for CommandError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Signals(_) | SandboxError::Announce(_) | SandboxError::End(_) => {
                Self::internal(error)
            }
            SandboxError::BurstWithoutBucket
            | SandboxError::UnreadableKeys { .. }
            | SandboxError::NoKeys { .. }
            | SandboxError::World(_)
            | SandboxError::Start(_) => Self::usage(error),
        }
    }
}

/// Before the first call, whatever is wrong with a file is the configuration's fault.
trait BeforeTheFirstCall<T> {
    fn before_the_first_call(self) -> Result<T, CommandError>;
}

impl<T, E: Into<CommandError>> BeforeTheFirstCall<T> for Result<T, E> {
    fn before_the_first_call(self) -> Result<T, CommandError> {
        self.map_err(Into::into).map_err(|error: CommandError| match error.exit_code {
            exit::INTERNAL => CommandError { exit_code: exit::USAGE, ..error },
            _ => error,
        })
    }
}

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit_code) = completion::answer(&args) {
        return ExitCode::from(exit_code);
    }
    let config = match Config::read(args) {
        Ok(config) => config,
        Err(ConfigError::Arguments(error)) => {
            // Nobody is left to be told that the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
        Err(error) => return complain(&CommandError::usage(error), &Screen::stderr()),
    };
    let screen = Screen::stderr();
    log_to(&screen, &config.cli.common);
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    match dispatch(&config, &screen) {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(error) => complain(&error, &screen),
    }
}

fn complain(error: &CommandError, mut screen: &Screen) -> ExitCode {
    // Without a terminal nobody is left to be told.
    let _ = writeln!(screen, "error: {}", in_words(&error.error));
    ExitCode::from(error.exit_code)
}

/// An error and its causes, each once: some errors tell their cause themselves. What they quote is escaped.
fn in_words(error: &anyhow::Error) -> String {
    let words =
        error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
            "" => cause,
            _ if told.ends_with(&cause) => told,
            _ => format!("{told}: {cause}"),
        });
    escape_lines(&words)
}

fn dispatch(config: &Config, screen: &Screen) -> Result<u8, CommandError> {
    let common = &config.cli.common;
    match &config.cli.command {
        Command::Run(args) if args.dry_run => dry_run::dry_run(config, args),
        Command::Run(args) => {
            descriptors::make_room(args.pace.concurrency.get(), args.rehearsal.sandbox)?;
            pinged(&args.reports, &args.connection, &args.rehearsal, || run::run(config, args, screen))
        }
        Command::Resume(args) => {
            // How many calls the run makes at once is known when its options are.
            descriptors::make_room(1, args.rehearsal.sandbox)?;
            pinged(&args.reports, &args.connection, &args.rehearsal, || resume::resume(config, args, screen))
        }
        Command::Report(args) => report::report(common, args),
        Command::Runs(args) => runs::runs(common, args),
        Command::History(args) => history::history(common, args),
        Command::Diff(args) => diff::diff(common, args),
        Command::Audit(args) => audit::audit(common, args),
        Command::Sandbox(args) => {
            descriptors::make_room(1, false)?;
            sandbox::serve(args, &mut Stdout::lock())?;
            Ok(exit::COMPLETE)
        }
        Command::Completions { shell } => completion::script(*shell),
        Command::Man { command } => {
            let mut page = Vec::new();
            let command = cli::manual(command.as_deref()).map_err(CommandError::usage)?;
            Man::new(command).render(&mut page).map_err(CommandError::internal)?;
            print(&page)
        }
    }
}

fn print(text: &[u8]) -> Result<u8, CommandError> {
    let mut stdout = Stdout::lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(Stdout::failed)?;
    Ok(exit::COMPLETE)
}

/// Standard output. A reader that has gone away is no error: what nobody reads is dropped.
#[derive(Debug)]
struct Stdout(Option<BufWriter<StdoutLock<'static>>>);

impl Stdout {
    fn lock() -> Self {
        Self(Some(BufWriter::new(io::stdout().lock())))
    }

    fn failed(error: io::Error) -> CommandError {
        CommandError::internal(anyhow::Error::new(error).context("standard output"))
    }

    fn unless_gone<T>(
        &mut self,
        nothing: T,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(stdout) = &mut self.0 else { return Ok(nothing) };
        match write(stdout) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(nothing)
            }
            result => result,
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_gone(bytes.len(), |stdout| stdout.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_gone((), Write::flush)
    }
}
