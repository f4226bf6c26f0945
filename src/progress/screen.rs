//! Standard error, shared by log lines and the progress bar so that neither garbles the other.
//!
//! Both are a best effort: whoever logs or draws never learns that nobody is there to see it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use tracing_subscriber::fmt::MakeWriter;

use super::line::{Fitted, Line};
use crate::text::Locale;

/// Columns of what does not tell its width.
const WIDTH: u16 = 80;

/// Where log lines and the bar are written: log lines come above the bar. Clones share one screen.
#[derive(Debug, Clone)]
pub struct Screen {
    bar: ProgressBar,
    out: Out,
    width: fn() -> u16,
    locale: Locale,
}

impl Screen {
    /// Without a bar, until a [`super::Progress`] shows one.
    pub fn stderr() -> Self {
        Self::on(io::stderr(), stderr_width, Locale::current())
    }

    fn on(out: impl Write + Send + 'static, width: fn() -> u16, locale: Locale) -> Self {
        Self { bar: ProgressBar::hidden(), out: Out(Arc::new(Mutex::new(out))), width, locale }
    }

    /// A line of ours as it is written here.
    pub fn spell<'t>(&self, line: &'t str) -> Cow<'t, str> {
        self.locale.spell(line)
    }

    /// Monochrome, so that `NO_COLOR` has nothing to switch off.
    pub(super) fn show_bar(&self, length: u64) {
        self.bar.set_length(length);
        let terminal = Terminal { out: self.out.clone(), width: self.width, pending: Mutex::default() };
        self.bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal)));
    }

    pub(super) fn draw(&self, position: u64, line: Line) {
        let Fitted { with_bar, text } = line.within((self.width)().into());
        self.bar.set_style(self.style(with_bar));
        self.bar.update(|state| state.set_pos(position));
        self.bar.set_message(self.spell(&text).into_owned());
    }

    fn style(&self, with_bar: bool) -> ProgressStyle {
        let template = if with_bar { "{bar:16} {wide_msg}" } else { "{wide_msg}" };
        let style = ProgressStyle::with_template(template);
        let drawn_with = match self.locale {
            Locale::Utf8 => "━ ",
            Locale::Other => "= ",
        };
        style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars(drawn_with)
    }

    pub(super) fn hide_bar(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// Each write is one or more whole lines, as tracing-subscriber makes them.
impl Write for &Screen {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| self.out.write(lines));
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn stderr_width() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.map(|size| size.ws_col).ok().filter(|&columns| columns > 0).unwrap_or(WIDTH)
}

#[derive(Clone)]
struct Out(Arc<Mutex<dyn Write + Send>>);

impl Out {
    fn write(&self, bytes: &[u8]) {
        let mut out = lock(&self.0);
        // Nobody can be told that standard error is gone, and the run must go on without it.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Out")
    }
}

/// A panic elsewhere leaves half a line at worst.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The screen as indicatif draws on it: ECMA-48 sequences, one write a drawing.
///
/// Not indicatif's own, because that shows nothing where there is no terminal, even if asked to.
#[derive(Debug)]
struct Terminal {
    out: Out,
    width: fn() -> u16,
    pending: Mutex<String>,
}

impl Terminal {
    fn push(&self, text: &str) {
        lock(&self.pending).push_str(text);
    }

    fn move_cursor(&self, n: usize, direction: char) {
        if n > 0 {
            self.push(&format!("\x1b[{n}{direction}"));
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        (self.width)()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text);
        self.push("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let drawing = std::mem::take(&mut *lock(&self.pending));
        if !drawing.is_empty() {
            self.out.write(drawing.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tracing_subscriber::fmt::format::FmtSpan;

    use super::super::line::Says;
    use super::*;

    /// What was written to a screen since the last look.
    #[derive(Debug, Clone, Default)]
    pub(in crate::progress) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::progress) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *lock(&self.0))).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        pub(in crate::progress) fn captured() -> (Self, Captured) {
            let out = Captured::default();
            (Self::on(out.clone(), || WIDTH, Locale::Utf8), out)
        }
    }

    fn half() -> Line {
        let mut line = Line::default();
        line.push(Says::Done, Some("half".into()));
        line
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn log(screen: &Screen, line: &str) {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(screen.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_span_events(FmtSpan::NONE)
            .finish();
        tracing::subscriber::with_default(subscriber, || tracing::info!("{line}"));
    }

    #[test]
    fn without_a_bar_log_lines_are_written_as_they_are() {
        let (screen, out) = Screen::captured();
        log(&screen, "hello");
        assert_eq!(out.take(), " INFO hello\n");
    }

    #[test]
    fn a_log_line_takes_the_bars_place_and_the_bar_comes_back_below_it() {
        let (screen, out) = Screen::captured();
        screen.show_bar(4);
        screen.draw(2, half());
        out.take();
        log(&screen, "hello");
        let bar = format!("{}{} half", "━".repeat(8), " ".repeat(8));
        assert_eq!(out.take(), format!("\r\u{1b}[2K INFO hello\n{bar:<80}"));
        screen.hide_bar();
        assert_eq!(out.take(), "\r\u{1b}[2K");
        log(&screen, "bye");
        assert_eq!(out.take(), " INFO bye\n");
    }

    #[test]
    fn a_bar_is_as_wide_as_the_terminal_and_drawn_with_what_its_locale_has() {
        let parts = [
            (Says::Done, "2 of 4 VMs"),
            (Says::Failed, "0 failed"),
            (Says::Rate, "9.9/s"),
            (Says::Left, "0.2 s left"),
        ];
        let drawn = |width, locale| {
            let out = Captured::default();
            let screen = Screen::on(out.clone(), width, locale);
            screen.show_bar(4);
            let mut line = Line::default();
            for (says, text) in parts {
                line.push(says, Some(text.to_owned()));
            }
            screen.draw(2, line);
            let drawn = out.take();
            drawn.rsplit('\u{1b}').next().unwrap().trim_start_matches("[2K").to_owned()
        };
        let whole = "2 of 4 VMs · 0 failed · 9.9/s · 0.2 s left";
        let bar = |sign: &str| format!("{}{}", sign.repeat(8), " ".repeat(8));
        assert_eq!(drawn(|| 200, Locale::Utf8), format!("{:<200}", format!("{} {whole}", bar("━"))));
        assert_eq!(drawn(|| 80, Locale::Utf8), format!("{:<80}", format!("{} {whole}", bar("━"))));
        let ascii = whole.replace('·', "|");
        assert_eq!(drawn(|| 80, Locale::Other), format!("{:<80}", format!("{} {ascii}", bar("="))));
        assert_eq!(drawn(|| 40, Locale::Utf8), format!("{:<40}", "2 of 4 VMs · 9.9/s · 0.2 s left"));
    }

    #[test]
    fn a_screen_that_is_gone_stops_nobody() {
        let screen = Screen::on(Gone, || WIDTH, Locale::Utf8);
        screen.show_bar(4);
        screen.draw(2, half());
        log(&screen, "hello");
        screen.hide_bar();
    }
}
