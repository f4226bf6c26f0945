//! Which characters the user's locale has: where it is not one of UTF-8, what we draw with is written in ASCII.
//!
//! Texts from outside stay as they are; of the characters that we draw with, those are ours that stand where we put them.

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::sync::LazyLock;

/// What tables are ruled with.
const RULE: char = '─';

/// What stands for the rest of a text that is cut short.
const REST: char = '…';

static CURRENT: LazyLock<Locale> = LazyLock::new(|| {
    let [all, ctype, lang] = ["LC_ALL", "LC_CTYPE", "LANG"].map(env::var_os);
    Locale::of([all.as_deref(), ctype.as_deref(), lang.as_deref()])
});

/// A locale, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locale {
    Utf8,
    /// Any other.
    Other,
}

impl Locale {
    /// The one that this process was started in.
    pub fn current() -> Self {
        *CURRENT
    }

    /// `LC_ALL` goes before `LC_CTYPE` and that before `LANG`, as POSIX has it: empty is as good as unset, and without any of
    /// them it is the locale `C`.
    fn of(variables: [Option<&OsStr>; 3]) -> Self {
        let name = variables.into_iter().flatten().find(|value| !value.is_empty());
        let name = name.map(OsStr::to_string_lossy).unwrap_or_default();
        let codeset = name.split_once('.').map_or("", |(_, rest)| rest.split('@').next().unwrap_or_default());
        match codeset.replace('-', "").eq_ignore_ascii_case("utf8") {
            true => Self::Utf8,
            false => Self::Other,
        }
    }

    /// A text of ours as the locale has it.
    pub fn spell(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Other if !text.is_ascii() => Cow::Owned(text.split_inclusive('\n').map(in_ascii).collect()),
            _ => Cow::Borrowed(text),
        }
    }
}

/// A line whose rules, arrows, dots and ellipses are in ASCII.
fn in_ascii(line: &str) -> String {
    if line.trim().chars().all(|c| c == RULE) {
        return line.replace(RULE, "-");
    }
    let (indent, line) = line.split_at(line.len() - line.trim_start().len());
    let line = line.strip_prefix("→ ").map_or(Cow::Borrowed(line), |rest| Cow::Owned(format!("-> {rest}")));
    format!("{indent}{}", without_rest(&line.replace(" → ", " -> ").replace(" · ", " | ")))
}

/// A cut text has nothing behind its end that belongs to it.
fn without_rest(line: &str) -> String {
    let mut parts = line.split(REST);
    let mut spelled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.starts_with(char::is_alphanumeric) {
            true => spelled.push(REST),
            false => spelled.push_str("..."),
        }
        spelled.push_str(part);
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codeset_is_told_by_the_first_variable_that_is_set_to_anything() {
        for (variables, is_utf8) in [
            ([None, None, None], false),
            ([None, None, Some("C.UTF-8")], true),
            ([None, None, Some("sv_SE.utf8@euro")], true),
            ([None, None, Some("sv_SE")], false),
            ([None, None, Some("sv_SE.ISO-8859-1")], false),
            ([Some(""), Some(""), Some("en_US.UTF-8")], true),
            ([Some("C"), None, Some("en_US.UTF-8")], false),
            ([None, Some("POSIX"), Some("en_US.UTF-8")], false),
            ([None, Some("en_US.UTF-8"), Some("C")], true),
            ([Some("en_US.Utf-8"), Some("C"), Some("C")], true),
        ] {
            let locale = Locale::of(variables.map(|value| value.map(OsStr::new)));
            assert_eq!(locale == Locale::Utf8, is_utf8, "{variables:?}");
        }
    }

    #[test]
    fn elsewhere_what_we_draw_with_is_ascii_and_what_is_from_outside_stays() {
        for (text, spelled) in [
            ("plain\n", "plain\n"),
            ("next hop a → b\n    → try again\n", "next hop a -> b\n    -> try again\n"),
            (" Rack  VMs\n───────────\n a       1\n", " Rack  VMs\n-----------\n a       1\n"),
            ("1 of 2 VMs · 0 failed · 1.0/s", "1 of 2 VMs | 0 failed | 1.0/s"),
            ("10001, 10002, …\n… and 3 more", "10001, 10002, ...\n... and 3 more"),
            ("Ångström 東京 a→b x·y p…q ──x", "Ångström 東京 a→b x·y p…q ──x"),
            ("Ångst… (5)", "Ångst... (5)"),
        ] {
            assert_eq!(Locale::Other.spell(text), spelled);
            assert_eq!(Locale::Utf8.spell(text), text);
        }
    }
}
