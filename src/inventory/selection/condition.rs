//! What a VM's columns and labels must say: `--where`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use globset::GlobMatcher;
use serde_json::Value;

use super::error::InvalidPattern;
use super::glob::{exclusion, glob};
use crate::allocation::{NextHop, Prefix};
use crate::inventory::columns::Column;
use crate::inventory::json::text;
use crate::inventory::path::Path;
use crate::inventory::vm::Vm;
use crate::vm::Action;

/// A `--where [!]LABEL=GLOB`. A known column's name stands for that column, else it is a label, or a path into the
/// nested objects of one.
#[derive(Debug, Clone)]
pub struct WherePattern {
    excludes: bool,
    pub(super) subject: Subject,
    glob: GlobMatcher,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Column(Column),
    Label { name: String, path: Option<Path> },
}

impl FromStr for WherePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (excludes, condition) = exclusion(text);
        let (label, pattern) = split(condition).ok_or(InvalidPattern::NoLabel)?;
        match (label, pattern) {
            ("", _) => Err(InvalidPattern::NoLabel),
            (_, "") => Err(InvalidPattern::NoPattern { label: label.into() }),
            _ => Ok(Self { excludes, subject: Subject::named(label), glob: glob(pattern)? }),
        }
    }
}

impl fmt::Display for WherePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match &self.subject {
            Subject::Column(column) => column.as_str(),
            Subject::Label { name, .. } => name,
        };
        write!(f, "{}{subject}={}", if self.excludes { "!" } else { "" }, self.glob.glob())
    }
}

/// At the first `=`, but for one in the quotation marks of a path.
fn split(condition: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let equals = condition.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '=' && !quoted
    });
    match equals {
        Some((at, _)) => Some((&condition[..at], &condition[at + 1..])),
        None => condition.split_once('='),
    }
}

impl Subject {
    fn named(name: &str) -> Self {
        let label = || Self::Label { name: name.into(), path: name.parse().ok() };
        Column::named(name).map_or_else(label, Self::Column)
    }

    fn of<'v>(&self, vm: &'v Vm, rack: Option<&'v str>) -> Option<Cow<'v, str>> {
        match self {
            Self::Column(column) => Self::known(*column, vm, rack).map(Cow::Borrowed),
            Self::Label { name, path } => match vm.label(name) {
                Some(text) => Some(Cow::Borrowed(text)),
                None => nested(path.as_ref()?, vm).map(Cow::Owned),
            },
        }
    }

    fn known<'v>(column: Column, vm: &'v Vm, rack: Option<&'v str>) -> Option<&'v str> {
        let expected = &vm.expected;
        match column {
            Column::Vmid => Some(vm.id.as_str()),
            Column::Name => vm.name.as_deref(),
            Column::RackId => rack,
            Column::Action => vm.action.map(Action::as_str),
            Column::Prefix => expected.prefix.as_ref().map(Prefix::as_str),
            Column::NextHop => expected.next_hop.as_ref().map(NextHop::as_str),
            Column::ProxmoxVmId => expected.proxmox_vm_id.as_deref(),
            Column::ClientId => expected.client_id.as_deref(),
            Column::AccountId => expected.account_id.as_deref(),
        }
    }
}

/// What is in the nested objects of a label, which are kept as JSON.
fn nested(path: &Path, vm: &Vm) -> Option<String> {
    let [first, _, ..] = path.keys() else { return None };
    let object: Value = serde_json::from_str(vm.label(first)?).ok()?;
    let text = text(path.find(|_| Some(&object))?);
    (!text.is_empty()).then_some(text)
}

impl WherePattern {
    pub(in crate::inventory) fn excludes(&self) -> bool {
        self.excludes
    }

    /// Whether it makes a difference to it in which rack a VM is.
    pub(super) fn asks_for_rack(&self) -> bool {
        self.subject == Subject::Column(Column::RackId)
    }

    /// The label that it names; `None` for a known column.
    pub(in crate::inventory) fn label(&self) -> Option<&str> {
        match &self.subject {
            Subject::Label { name, .. } => Some(name),
            Subject::Column(_) => None,
        }
    }

    /// Whether the VM has what it names.
    pub(in crate::inventory) fn concerns(&self, vm: &Vm) -> bool {
        self.subject.of(vm, None).is_some()
    }

    pub(in crate::inventory) fn matches(&self, vm: &Vm, rack: Option<&str>) -> bool {
        self.subject.of(vm, rack).is_some_and(|text| self.glob.is_match(text.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_split_at_its_first_equals_sign_outside_of_quotation_marks() {
        assert_eq!(split("a.\"b=c\"=d=e"), Some(("a.\"b=c\"", "d=e")));
        assert_eq!(split("5\"=x"), Some(("5\"", "x")));
    }
}
