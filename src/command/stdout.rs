//! Standard output. A reader that has gone away is no error: what nobody reads is dropped.

use std::borrow::Cow;
use std::io::{self, BufWriter, StdoutLock, Write};

use super::failure::Broken;
use crate::config::Form;
use crate::text::Locale;

/// Prints all that there is to say.
pub(super) fn print(bytes: &[u8]) -> Result<(), Broken> {
    let mut stdout = Stdout::lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Stdout::failed)
}

/// Prints what has a form: what is for people as their locale has it.
pub(super) fn print_as(form: Form, text: &str) -> Result<(), Broken> {
    print(spelled(form, text).as_bytes())
}

/// Programs get UTF-8 wherever they are.
fn spelled(form: Form, text: &str) -> Cow<'_, str> {
    match form {
        Form::Text => Locale::current().spell(text),
        Form::Json => Cow::Borrowed(text),
    }
}

/// The same on standard error, where standard output holds something else.
pub(super) fn print_unless(holds_else: bool, form: Form, text: &str) -> Result<(), Broken> {
    if !holds_else {
        return print_as(form, text);
    }
    // Without it nobody is left to be told.
    let _ = io::stderr().lock().write_all(spelled(form, text).as_bytes());
    Ok(())
}

/// How wide the terminal is that it is shown on; `None` where it goes elsewhere, or nobody knows.
pub(super) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Standard output while it is written to.
#[derive(Debug)]
pub(super) struct Stdout(Option<BufWriter<StdoutLock<'static>>>);

impl Stdout {
    pub(super) fn lock() -> Self {
        Self(Some(BufWriter::new(io::stdout().lock())))
    }

    pub(super) fn failed(error: io::Error) -> Broken {
        Broken::new(anyhow::Error::new(error).context("standard output"))
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
