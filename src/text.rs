//! How text from outside, numbers and durations are put before people.
//!
//! Names, errors and labels come from servers and inventories: a terminal must not obey them, and a
//! spreadsheet must neither run them nor make dates of them. Whatever is shown goes through here once; what is
//! stored stays exact.

mod locale;
mod moment;

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::path::Path;

pub use locale::Locale;
pub use moment::{moment, moment_field, moment_for_people};

/// Whether a terminal or a reader would be misled by the character itself: control characters (C0, DEL, C1),
/// line and paragraph separators, and the marks that turn the direction of text.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with every deceptive character written out, as `\n`, `\r`, `\t` or `\u{1b}`.
///
/// A backslash stays as it is, so this is for reading, not for parsing back.
pub fn escape(text: &str) -> Cow<'_, str> {
    // Nearly all texts are plain, and that is told from their bytes.
    match text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        true => Cow::Borrowed(text),
        false => replaced(text, is_deceptive, written_out),
    }
}

/// The same for what has had its control characters of ASCII (C0) escaped, or means them: each other one becomes what
/// `written_out` makes of it.
pub fn escape_beyond_c0(text: &str, written_out: fn(char) -> String) -> Cow<'_, str> {
    replaced(text, |c| c > '~' && is_deceptive(c), written_out)
}

fn replaced(text: &str, misleads: fn(char) -> bool, written_out: fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(misleads) {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match misleads(c) {
            true => replaced.push_str(&written_out(c)),
            false => replaced.push(c),
        }
    }
    Cow::Owned(replaced)
}

/// A character as [`escape`] writes it out, for people.
pub fn written_out(c: char) -> String {
    c.escape_default().to_string()
}

/// A character as JSON has it written out, which reads back exactly.
pub fn written_out_in_json(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
}

/// A file's name, escaped.
pub fn escape_path(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

/// The text as a cell that a spreadsheet shows as it is: escaped, and with a leading `'` where it starts like a
/// formula or reads as a date.
///
/// Plain numbers such as `-5` are no formulas; numbers stay as written.
pub fn cell(text: &str) -> Cow<'_, str> {
    let misleads = match text.bytes().next() {
        None => false,
        Some(first) if first.is_ascii_alphabetic() => false,
        Some(first) if first.is_ascii_digit() => reads_as_a_date(text),
        Some(_) => starts_like_a_formula(text) || reads_as_a_date(text),
    };
    match misleads {
        true => Cow::Owned(format!("'{}", escape(text))),
        false => escape(text),
    }
}

/// After OWASP's "CSV Injection", with the full-width and small forms that spreadsheets read the same,
/// and behind anything that they skip.
fn starts_like_a_formula(text: &str) -> bool {
    let skipped = |c: char| {
        c.is_whitespace() || is_deceptive(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
    };
    let starts = text
        .trim_start_matches(skipped)
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫']);
    text.starts_with(['\t', '\r', '\n']) || (starts && !is_plain_number(text))
}

fn is_plain_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    is_digits(whole) && is_digits(fraction)
}

/// After what LibreOffice takes for a date in CSV without being told to look for any: `2026-11-24`, or
/// `2026-11-24T12:30:00` with any fraction and no zone.
///
/// Which of these days there are is left to its calendar, which is Julian before 1582.
fn reads_as_a_date(text: &str) -> bool {
    let text = text.trim_matches(' ');
    let year = text.bytes().take_while(u8::is_ascii_digit).count();
    let Some(rest) = text[year..].strip_prefix('-').filter(|_| matches!(year, 4..=6)) else { return false };
    let Some((day, time)) = rest.split_at_checked(5) else { return false };
    is_written_like(day, "00-00") && (time.is_empty() || is_time_of_day(time))
}

fn is_time_of_day(text: &str) -> bool {
    let Some((time, fraction)) = text.strip_prefix(['T', 't']).and_then(|time| time.split_at_checked(8))
    else {
        return false;
    };
    let is_fraction = |text: &str| text.strip_prefix(['.', ',']).is_some_and(is_digits);
    is_written_like(time, "00:00:00") && (fraction.is_empty() || is_fraction(fraction))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text is the same as another but for its digits, which stand where the other has a `0`.
fn is_written_like(text: &str, other: &str) -> bool {
    let mut pairs = text.bytes().zip(other.bytes());
    text.len() == other.len()
        && pairs.all(|(b, like)| if like == b'0' { b.is_ascii_digit() } else { b == like })
}

/// At most `limit` characters of an [`escape`]d text; `…` stands for the rest.
pub fn excerpt(text: &str, limit: usize) -> String {
    let escaped = escape(text);
    match escaped.char_indices().nth(limit) {
        None => escaped.into_owned(),
        Some(_) => escaped.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Characters of a text that is spelled out.
const SPELLED_OUT: usize = 60;

/// The beginning of a text that somebody is to find and mend: what cannot be seen, quotes and backslashes are written out
/// too.
pub fn spelled_out(text: &str) -> String {
    let mut characters = text.chars();
    let mut spelled: String = characters.by_ref().take(SPELLED_OUT).flat_map(char::escape_debug).collect();
    if characters.next().is_some() {
        spelled.push('…');
    }
    spelled
}

/// With thousands separators: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut separated = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            separated.push(',');
        }
        separated.push(digit);
    }
    separated
}

/// A count with its noun: `1 VM`, `2,000 VMs`, `2 retries`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A word as a shell would need it. What would mislead whoever reads it is written out, as bash, zsh and ksh read it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    let written_out = |c: char| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if is_deceptive(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else if word.contains(is_deceptive) {
        format!("$'{}'", word.chars().map(written_out).collect::<String>())
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The same as [`escape`], but for the line feeds that set off the lines of a text of our own.
pub fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// The one of `words` that was most likely meant by a misspelt one, if any is near.
pub fn nearest<'a>(misspelt: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let misspelt = misspelt.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&misspelt, &word.to_lowercase());
    let nearest = words.into_iter().min_by_key(|word| distance(word))?;
    // Of a longer word more may be wrong; of a short one nothing would be left.
    (distance(nearest) <= misspelt.chars().count().div_ceil(4).min(3)).then_some(nearest)
}

/// A duration to the precision that people read: `0.4 s`, `2 min 5 s`, `1 h 3 min`, `2 d 3 h`.
pub fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and NaN is 0")]
    let tenths = (seconds * 10.0).round() as u64;
    let whole = tenths.saturating_add(5) / 10;
    match (tenths, whole) {
        (..600, _) => format!("{}.{} s", tenths / 10, tenths % 10),
        (_, ..3_600) => format!("{} min {} s", whole / 60, whole % 60),
        (_, ..86_400) => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", count(whole / 86_400), whole % 86_400 / 3_600),
    }
}

/// Whether to colour what goes to a stream: only on a terminal that can, and not under `NO_COLOR`.
pub fn colored(is_terminal: bool) -> bool {
    is_terminal && wants_color(env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
}

/// <https://no-color.org>: set to anything but nothing.
fn wants_color(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && !is_dumb(term)
}

/// Whether a terminal of this `TERM` cannot move its cursor.
pub(crate) fn is_dumb(term: Option<&OsStr>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_word_that_was_meant_is_among_the_nearest_or_there_is_none() {
        let words = ["rate", "rack", "rack-concurrency", "max-wait", "output"];
        for (misspelt, meant) in [
            ("ratte", Some("rate")),
            ("RATE", Some("rate")),
            ("rack-concurency", Some("rack-concurrency")),
            ("max-wiat", Some("max-wait")),
            ("outputs", Some("output")),
            ("listen", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(misspelt, words), meant, "{misspelt}");
        }
        assert_eq!(nearest("rate", []), None);
    }

    #[test]
    fn what_would_mislead_in_a_log_line_is_written_out_as_its_form_has_it() {
        let text = |line: &str| escape_beyond_c0(line, written_out).into_owned();
        let json = |line: &str| escape_beyond_c0(line, written_out_in_json).into_owned();
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

    #[test]
    fn characters_that_a_terminal_would_obey_are_written_out() {
        for (text, shown) in [
            ("web-1", "web-1"),
            ("Ångström 東京 🦀", "Ångström 東京 🦀"),
            (r"C:\new", r"C:\new"),
            ("it's \"so\"", "it's \"so\""),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[2J\u{7}\0", r"\u{1b}[2J\u{7}\u{0}"),
            ("\u{7f}\u{9b}31m\u{85}", r"\u{7f}\u{9b}31m\u{85}"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{2028}", r"a\u{202e}b\u{2066}c\u{200f}d\u{2028}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn words_that_would_mislead_are_quoted_as_shells_read_them() {
        for (word, expected) in [
            ("a\u{202e}vsc.b", r"$'a\u202evsc.b'"),
            ("it's\n\\", r"$'it\'s\u000a\\'"),
            ("\u{9b}2J", r"$'\u009b2J'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn the_lines_of_a_text_stay_and_what_is_in_them_is_escaped() {
        assert_eq!(escape_lines("a\u{202e}\r\nb\n"), "a\\u{202e}\\r\nb\n");
    }

    #[test]
    fn cells_that_a_spreadsheet_would_run_are_quoted() {
        for formula in [
            "=1+1",
            "+1+1",
            "-1+1",
            "@SUM(A1)",
            " =1",
            "\u{a0}=1",
            "\u{200b}=1",
            "\u{feff}@a",
            "-",
            "+",
            "-5-",
            "--5",
            "-.",
            "-5.",
            "- 5",
            " -5",
            "-1e3",
            "＝1",
            "＋1",
            "－1",
            "＠a",
            "﹦1",
        ] {
            assert_eq!(cell(formula), format!("'{formula}"));
        }
        for (control, shown) in
            [("\t=1", r"'\t=1"), ("\rx", r"'\rx"), ("\n-", r"'\n-"), ("\u{1b}=1", r"'\u{1b}=1")]
        {
            assert_eq!(cell(control), shown);
        }
        for plain in
            ["", "-5", "+46701234567", "-0.25", "5", "a=1", "2001:db8::/48", "'=1", "a -b", "field: 1 → -2"]
        {
            assert_eq!(cell(plain), plain);
        }
    }

    #[test]
    fn cells_that_a_spreadsheet_would_read_as_dates_are_quoted() {
        // As LibreOffice 7.4 was seen to open CSV by default, in en-US: these became dates,
        let dates = [
            "2026-11-24",
            "2024-02-29",
            "0001-01-01",
            "9999-12-31",
            "12026-11-24",
            "032767-12-31",
            " 2026-11-24",
            "2026-11-24 ",
            "  2026-11-24  ",
            "2026-11-24T12:30:00",
            "2026-11-24t12:30:00",
            "2026-11-24T24:00:00",
            "2026-11-24T12:30:00  ",
            "2026-11-24T12:30:00.5",
            "2026-11-24T12:30:00,123",
            "2026-11-24T12:30:00.123456789",
        ];
        // these did not, but only for want of such a day or hour,
        let impossible = ["2026-02-30", "0000-01-01", "99999-12-31", "1582-10-10", "2026-11-24T25:00:00"];
        for text in dates.iter().chain(&impossible) {
            assert_eq!(cell(text), format!("'{text}"));
        }
        // and these stayed texts.
        for text in [
            "2026-11-24T12:30:00Z",
            "2026-11-24T12:30:00.123456Z",
            "2026-11-24T12:30:00+00:00",
            "2026-11-24T12:30:00-05",
            "2026-11-24T12:30:00.",
            "2026-11-24T12:30",
            "2026-11-24T1:02:03",
            "2026-11-24T",
            "2026-11-24 12:30:00",
            "2026-11-24 00:00:00.658429+00",
            "2026-11-24 T12:30:00",
            "2026-11-24Z",
            "2026-11-24.",
            "2026-11-24-1",
            "2026-11",
            "2026-11-",
            "2026-1-2",
            "2026-011-24",
            "26-11-24",
            "00002026-11-24",
            "2026/11/24",
            "2026-W48",
            "20261124T123000",
            "２０２６-１１-２４",
            "2026－11－24",
            "2026–11–24",
            "\u{a0}2026-11-24",
            "1/2",
            "1/2/2026",
            "24.11.2026",
            "Nov 24",
            "MAR1",
            "24-Nov-2026",
            "Tue, 24 Nov 2026 12:30:00 GMT",
            "12:30",
            "12:30:45.123",
            "12:30 PM",
            "25:00",
            "PT1H",
            "16:9",
            "00:11:22:33:44:55",
        ] {
            assert_eq!(cell(text), text);
        }
    }

    #[test]
    fn numbers_stay_as_written_for_programs_that_compare_them() {
        for text in ["007", "12345678901234567890", "1e5", "1,000", "20261124"] {
            assert_eq!(cell(text), text);
        }
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(excerpt("åäö", 3), "åäö");
        assert_eq!(excerpt("åäöü", 3), "åä…");
        assert_eq!(excerpt("a\nb", 3), r"a\…");
    }

    #[test]
    fn counts_have_thousands_separators() {
        for (n, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(1, "retry", "retries"), "1 retry");
        assert_eq!(counted(2_000, "retry", "retries"), "2,000 retries");
    }

    #[test]
    fn durations_are_as_precise_as_people_read_them() {
        for (seconds, text) in [
            (f64::NAN, "0.0 s"),
            (-1.0, "0.0 s"),
            (0.44, "0.4 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 0 s"),
            (125.4, "2 min 5 s"),
            (3_599.6, "1 h 0 min"),
            (3_780.0, "1 h 3 min"),
            (86_399.9, "1 d 0 h"),
            (183_600.0, "2 d 3 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert!(duration(f64::INFINITY).ends_with(" h"));
    }

    #[test]
    fn color_needs_a_terminal_that_can_and_a_user_who_may() {
        let os = |text| Some(OsStr::new(text));
        assert!(wants_color(None, os("xterm")));
        assert!(wants_color(os(""), os("xterm")));
        assert!(!wants_color(os("1"), os("xterm")));
        assert!(!wants_color(None, os("dumb")));
        assert!(!wants_color(None, None));
        assert!(!colored(false));
    }

    proptest! {
        #[test]
        fn escaping_leaves_nothing_deceptive_and_touches_nothing_else(
            text in proptest::collection::vec(any::<char>(), 0..20).prop_map(String::from_iter)
        ) {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(is_deceptive));
            if !text.contains(is_deceptive) {
                prop_assert_eq!(&escaped, &text);
            }
            prop_assert_eq!(escape(&escaped), &*escaped);
        }
    }
}
