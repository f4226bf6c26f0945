//! What was found: one line a check, with what to do, and the exit code that a run would end with. Pure.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::text::{counted, escape_lines};
use crate::words::words;

words! {
    /// What is looked at, in this order.
    Check {
        Settings = "settings",
        Descriptors = "descriptors",
        Reports = "reports",
        Key = "key",
        Ledger = "ledger",
        Lock = "lock",
        Space = "space",
        Inventory = "inventory",
        Proxy = "proxy",
        Name = "name",
        Tcp = "tcp",
        Tls = "tls",
        Certificate = "certificate",
        Api = "api",
        Clock = "clock",
        Access = "access",
    }
}

words! {
    /// How a check came out.
    Level {
        Ok = "ok",
        Warning = "warning",
        Error = "error",
        /// Something else keeps it from being looked at.
        Unchecked = "unchecked",
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    pub level: Level,
    says: String,
    /// What to do about it, where what is found does not say so itself.
    remedy: Option<String>,
    /// What a run would end with for it.
    pub exit_code: u8,
}

impl Finding {
    pub fn ok(check: Check, says: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, says: says.into(), remedy: None, exit_code: 0 }
    }

    pub fn warning(check: Check, says: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::ok(check, says) }
    }

    pub fn error(check: Check, says: impl Into<String>, exit_code: u8) -> Self {
        Self { level: Level::Error, exit_code, ..Self::ok(check, says) }
    }

    pub fn unchecked(check: Check, why: impl Into<String>) -> Self {
        Self { level: Level::Unchecked, ..Self::ok(check, why) }
    }

    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Of a warning: what a run that goes on all the same ends with.
    #[must_use]
    pub fn ending_with(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }

    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }

    /// A line; what has more than one is indented.
    fn line(&self) -> String {
        let Self { check, level, says, remedy, .. } = self;
        let remedy = remedy.iter().map(|remedy| format!(" → {remedy}"));
        let words = escape_lines(&remedy.fold(says.clone(), |says, remedy| says + &remedy));
        let indent = format!("\n{:INDENT$}", "");
        format!("{:LEVEL$}  {:CHECK$}  {}", level.as_str(), check.as_str(), words.replace('\n', &indent))
    }

    fn json(&self) -> Value {
        let Self { check, level, says, remedy, .. } = self;
        json!({"check": check, "level": level, "says": says, "remedy": remedy})
    }
}

/// The widths of the columns.
const LEVEL: usize = "unchecked".len();
const CHECK: usize = "descriptors".len();
const INDENT: usize = LEVEL + CHECK + 4;

/// What a run that breaks while it is carried out ends with.
const BROKEN: u8 = 1;

/// What a run would end with: what keeps it from beginning is met first.
pub fn exit_code(findings: &[Finding]) -> u8 {
    let errors = findings.iter().filter(|finding| finding.is_error());
    let refused = errors.clone().filter(|finding| finding.exit_code != BROKEN);
    let mut codes = refused.chain(errors).chain(findings).map(|finding| finding.exit_code);
    codes.find(|code| *code != 0).unwrap_or(0)
}

/// A line for each, and what they come to.
pub fn text(findings: &[Finding]) -> String {
    let mut text = findings.iter().map(Finding::line).fold(String::new(), |text, line| text + &line + "\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{}", verdict(findings));
    text
}

fn verdict(findings: &[Finding]) -> String {
    let of = |level| findings.iter().filter(|finding| finding.level == level).count() as u64;
    let counts = [
        (of(Level::Error), "error", "errors"),
        (of(Level::Warning), "warning", "warnings"),
        (of(Level::Unchecked), "check not made", "checks not made"),
    ];
    let counts = counts.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| counted(n, one, many));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let counts = if counts.is_empty() { "All is well".to_owned() } else { counts };
    match exit_code(findings) {
        0 => format!("{counts}: nothing keeps a run from its work. Nothing was called for any VM."),
        code => format!("{counts}: a run would end with exit code {code}. Nothing was called for any VM."),
    }
}

/// The same for programs. `settings`: those in force, each with its source.
pub fn json(findings: &[Finding], settings: &Value) -> String {
    let checks: Vec<Value> = findings.iter().map(Finding::json).collect();
    let object = json!({
        "schema": "v6fleet.check/1",
        "exit_code": exit_code(findings),
        "checks": checks,
        "settings": settings,
    });
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_what_keeps_it_from_beginning_else_with_what_it_meets_first() {
        let skips = || Finding::warning(Check::Inventory, "one bad row").ending_with(3);
        let locked = || Finding::error(Check::Lock, "held", 6);
        let refused = || Finding::error(Check::Access, "refused", 8);
        let cramped = || Finding::error(Check::Reports, "no room", 1);
        let odd = || Finding::warning(Check::Clock, "10 min off");
        for (findings, code) in [
            (vec![], 0),
            (vec![odd(), Finding::unchecked(Check::Access, "no key")], 0),
            (vec![skips(), odd()], 3),
            (vec![skips(), refused()], 8),
            (vec![locked(), skips(), refused()], 6),
            (vec![cramped(), locked(), refused()], 6),
            (vec![skips(), cramped()], 1),
        ] {
            assert_eq!(exit_code(&findings), code, "{findings:?}");
        }
    }

    #[test]
    fn a_check_is_a_line_and_what_it_quotes_cannot_reach_the_terminal() {
        let findings = [
            Finding::ok(Check::Tcp, "connects"),
            Finding::error(Check::Api, "says \u{1b}[2J", 5).with_remedy("look"),
            Finding::error(Check::Inventory, "2 rows\na.csv:2: bad", 2),
            Finding::unchecked(Check::Access, "there is no key"),
        ];
        assert_eq!(
            text(&findings),
            "ok         tcp          connects\n\
             error      api          says \\u{1b}[2J → look\n\
             error      inventory    2 rows\n                        a.csv:2: bad\n\
             unchecked  access       there is no key\n\n\
             2 errors, 1 check not made: a run would end with exit code 5. Nothing was called for any VM.\n"
        );
        assert!(
            text(&findings[..1]).ends_with(
                "All is well: nothing keeps a run from its work. Nothing was called for any VM.\n"
            )
        );
    }
}
