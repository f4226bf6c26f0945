//! One row of an inventory, whatever its format: checked, and made a [`Vm`].

use std::fmt::{self, Display};
use std::str::FromStr;

use super::columns::Field;
use super::vm::{InvalidAction, Vm};
use crate::allocation::Expected;
use crate::text::{escape, shortened};

/// The most characters of an inventory's own text that an error repeats.
const SHOWN: usize = 60;

/// A row that cannot be used, as `file:line: column: reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRow {
    pub file: String,
    /// The first of the row, from 1.
    pub line: u64,
    pub column: String,
    pub reason: String,
}

impl Display for InvalidRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, reason } = self;
        write!(f, "{}:{line}: {}: {reason}", escape(file), escape(column))
    }
}

/// What is wrong with one value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) column: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(column: &str, reason: impl Display) -> Self {
        Self { column: column.to_owned(), reason: reason.to_string() }
    }
}

/// The values of one row as they are read.
#[derive(Debug, Default)]
pub(super) struct Values {
    known: [Option<String>; Field::ALL.len()],
    labels: Vec<(String, String)>,
}

impl Values {
    /// White space around a known field is no part of it, and an empty one is absent.
    pub(super) fn set(&mut self, field: Option<Field>, header: &str, value: &str) {
        match field {
            Some(field) => {
                self.known[field as usize] = Some(value.trim().to_owned()).filter(|v| !v.is_empty());
            }
            None => self.labels.push((header.to_owned(), value.to_owned())),
        }
    }

    fn take(&mut self, field: Field) -> Option<String> {
        self.known[field as usize].take()
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, field: Field) -> Result<Option<T>, Fault> {
        let Some(text) = self.take(field) else { return Ok(None) };
        let shown = || escape(&shortened(&text, SHOWN)).into_owned();
        text.parse()
            .map(Some)
            .map_err(|error| Fault::new(field.as_str(), format!("\"{}\": {error}", shown())))
    }

    /// The VM, or the first thing that is wrong with it. `action_given`: a typed `--action` holds for every VM.
    pub(super) fn into_vm(mut self, action_given: bool) -> Result<Vm, Fault> {
        let id = self.parse(Field::VmId)?.ok_or_else(|| Fault::new("vmid", "missing"))?;
        let action = self.parse(Field::Action)?;
        if action.is_none() && !action_given {
            let known = InvalidAction.to_string().replace("unknown action", "missing");
            return Err(Fault::new("action", format!("{known}; or give --action for every VM")));
        }
        let expected = Expected {
            prefix: self.parse(Field::Prefix)?,
            next_hop: self.parse(Field::NextHop)?,
            rack_id: self.take(Field::RackId),
            account_id: self.take(Field::AccountId),
            client_id: self.take(Field::ClientId),
            proxmox_vm_id: self.take(Field::ProxmoxVmId),
        };
        Ok(Vm { id, name: self.take(Field::Name), action, expected, labels: self.labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(values: &[(Field, &str)]) -> Result<Vm, Fault> {
        let mut row = Values::default();
        for (field, value) in values {
            row.set(Some(*field), field.as_str(), value);
        }
        row.into_vm(true)
    }

    #[test]
    fn every_bad_value_is_named_with_its_column() {
        for (field, value, word) in [
            (Field::VmId, "abc", "not a HostUp VM id"),
            (Field::VmId, "", "missing"),
            (Field::Action, "release", "unknown action"),
            (Field::Prefix, "10.0.0.0/8", "not an IPv6 network"),
            (Field::NextHop, "router", "not an IPv6 address"),
        ] {
            let fault = vm(&[(Field::VmId, "1"), (field, value)]).unwrap_err();
            assert_eq!(fault.column, field.as_str());
            assert!(fault.reason.contains(word), "{}", fault.reason);
        }
        let mut row = Values::default();
        row.set(Some(Field::VmId), "vmid", "1");
        assert_eq!(row.into_vm(false).unwrap_err().column, "action");
    }

    #[test]
    fn white_space_around_a_field_is_cut_and_labels_are_kept_as_they_are() {
        let mut row = Values::default();
        row.set(Some(Field::VmId), "vmid", " 10000\t");
        row.set(None, "note", " two  spaces ");
        let vm = row.into_vm(true).unwrap();
        assert_eq!((vm.id.as_str(), vm.labels[0].1.as_str()), ("10000", " two  spaces "));
    }

    #[test]
    fn hostile_text_is_escaped_and_shortened_in_an_error() {
        let fault = vm(&[(Field::VmId, &format!("\u{1b}[2J{}", "9".repeat(5000)))]).unwrap_err();
        assert!(!fault.reason.contains('\u{1b}') && fault.reason.len() < 300, "{}", fault.reason);
    }
}
