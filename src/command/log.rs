//! Log lines on their way to the screen: as text, or each as a JSON object that knows the run it is of.

mod current;
mod json;
mod text;

use std::io::{self, IsTerminal, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogForm, LogLevel, LogSettings};
use crate::progress::Screen;
use crate::text::{colored, escape_beyond_c0, written_out, written_out_in_json};
pub(super) use current::{of_run, run};

/// Our own log lines only: other crates log what they please, headers included.
pub(super) fn log_to(screen: &Screen, settings: LogSettings) {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), level);
    let lines = Lines { screen: screen.clone(), form: settings.form };
    let lines = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false);
    let registry = tracing_subscriber::registry().with(ours);
    match settings.form {
        LogForm::Text => {
            let lines = lines.with_ansi(colored(io::stderr().is_terminal()));
            registry.with(lines.fmt_fields(text::Fields)).init();
        }
        LogForm::Json => registry.with(lines.with_ansi(false).event_format(json::Object)).init(),
    }
}

/// Writes what tracing-subscriber makes of an event, once what it lets pass is escaped: in its text the marks that turn
/// the direction of writing, and in its JSON all but the control characters of ASCII.
#[derive(Debug, Clone)]
struct Lines {
    screen: Screen,
    form: LogForm,
}

impl Write for &Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        // Colours and line ends are C0, and escaped before where they come from outside.
        let text = String::from_utf8_lossy(lines);
        let written = match self.form {
            LogForm::Text => self.screen.spell(&escape_beyond_c0(&text, written_out)).into_owned(),
            LogForm::Json => escape_beyond_c0(&text, written_out_in_json).into_owned(),
        };
        (&self.screen).write_all(written.as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
