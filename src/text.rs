//! How text from outside, numbers and durations are put before people.
//!
//! Names, errors and labels come from servers and inventories: a terminal must not obey them, and a
//! spreadsheet must not run them. Whatever is shown goes through here once; what is stored stays exact.

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;

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
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_deceptive(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The text as a cell that no spreadsheet runs: escaped, and with a leading `'` where it starts like a formula.
///
/// Plain numbers such as `-5` are no formulas.
pub fn cell(text: &str) -> Cow<'_, str> {
    match starts_like_a_formula(text) {
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
    [whole, fraction].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// At most `limit` characters of an escaped text; `…` stands for the rest.
pub fn shortened(text: &str, limit: usize) -> String {
    let escaped = escape(text);
    match escaped.char_indices().nth(limit) {
        None => escaped.into_owned(),
        Some(_) => escaped.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
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
    fn dates_and_numbers_stay_as_written_for_programs_that_compare_them() {
        for text in ["2026-11-23", "2026-02-10T00:00:00", "1/2", "007", "12345678901234567890", "1e5", "MAR1"]
        {
            assert_eq!(cell(text), text);
        }
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(shortened("åäö", 3), "åäö");
        assert_eq!(shortened("åäöü", 3), "åä…");
        assert_eq!(shortened("a\nb", 3), r"a\…");
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
