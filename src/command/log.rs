//! Log lines on their way to the screen.

use std::io::{self, IsTerminal, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogForm, LogLevel, LogSettings};
use crate::progress::Screen;
use crate::text::{colored, is_deceptive, written_out, written_out_in_json};

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
    let escape = match settings.form {
        LogForm::Text => written_out,
        LogForm::Json => written_out_in_json,
    };
    let lines = Lines { screen: screen.clone(), escape };
    let lines = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false);
    let registry = tracing_subscriber::registry().with(ours);
    match settings.form {
        LogForm::Text => registry.with(lines.with_ansi(colored(io::stderr().is_terminal()))).init(),
        LogForm::Json => registry.with(lines.json().with_ansi(false)).init(),
    }
}

/// Writes what tracing-subscriber makes of an event, once what it lets pass is escaped: in its text the marks that turn
/// the direction of writing, and in its JSON all but the control characters of ASCII.
#[derive(Debug, Clone)]
struct Lines {
    screen: Screen,
    /// A character as the lines' form has it.
    escape: fn(char) -> String,
}

impl Write for &Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        (&self.screen).write_all(&escaped(lines, self.escape))?;
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

fn escaped(lines: &[u8], escape: fn(char) -> String) -> Vec<u8> {
    // Colours and line ends are control characters of ASCII, and escaped before where they come from outside.
    let misleads = |c: char| c > '~' && is_deceptive(c);
    let text = String::from_utf8_lossy(lines);
    let parts = text.chars().map(|c| if misleads(c) { escape(c) } else { c.to_string() });
    if text.contains(misleads) { parts.collect::<String>().into_bytes() } else { lines.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mislead_is_written_out_as_the_form_of_the_lines_has_it() {
        let text = |line: &str| String::from_utf8(escaped(line.as_bytes(), written_out)).unwrap();
        let json = |line: &str| String::from_utf8(escaped(line.as_bytes(), written_out_in_json)).unwrap();
        for line in ["plain\n", "\u{1b}[32m INFO\u{1b}[0m Ångström 東京 🦀\n"] {
            assert_eq!((text(line).as_str(), json(line).as_str()), (line, line));
        }
        let deceptive = (' '..='\u{ffff}').filter(|&c| c >= '\u{7f}' && is_deceptive(c));
        for c in deceptive {
            let line = format!("{{\"rack\":\"a{c}b\"}}\n");
            assert_eq!(text(&line), line.replace(c, &format!("\\u{{{:x}}}", u32::from(c))));
            let read: serde_json::Value = serde_json::from_str(&json(&line)).unwrap();
            assert_eq!(read["rack"], format!("a{c}b"), "JSON keeps it exact");
            assert!(!json(&line).contains(c));
        }
        assert_eq!(json("\u{9b}\u{202e}\u{61c}\u{7f}"), r"\u009b\u202e\u061c\u007f");
    }
}
