//! One row's cells, whatever format they came in, → one checked [`Vm`].

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use super::columns::{Column, MAX_NAME};
use super::error::Fault;
use super::vm::Vm;
use crate::allocation::Expected;
use crate::dialect::Dialect;
use crate::text::{count, spelled_out};

/// The longest text of a label, in characters: no cell of a spreadsheet holds more.
pub const MAX_LABEL: usize = 32_767;

/// A known column's content.
#[derive(Debug)]
struct Cell<'a> {
    /// What the file calls the column.
    header: Cow<'a, str>,
    text: Cow<'a, str>,
}

/// The cells of a row.
#[derive(Debug, Default)]
pub(super) struct Cells<'a> {
    /// By [`Column`], in its order.
    known: [Option<Cell<'a>>; Column::ALL.len()],
    labels: Vec<(String, String)>,
}

impl<'a> Cells<'a> {
    /// Adds a known column; white space around its content says nothing, and an empty one is absent.
    pub(super) fn set(&mut self, column: Column, header: Cow<'a, str>, text: Cow<'a, str>) {
        self.known[column as usize] = Some(Cell { header, text });
    }

    /// Adds a label, as it is; an empty one is absent.
    pub(super) fn label(&mut self, name: &str, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.labels.push((name.into(), text));
        }
    }

    /// What the file has under this name, whatever it means to us.
    pub(super) fn under(&self, name: &str) -> Option<&str> {
        let known = self.known.iter().flatten().map(|cell| (cell.header.as_ref(), cell.text.as_ref()));
        let labels = self.labels.iter().map(|(label, text)| (label.as_str(), text.as_str()));
        let mut all = known.chain(labels);
        all.find(|(header, _)| header.trim().eq_ignore_ascii_case(name)).map(|(_, text)| text)
    }

    /// Checks the row.
    pub(super) fn into_vm(self, dialect: Dialect) -> Result<Vm, Fault> {
        let id = self.parsed_by(Column::Vmid, |text| dialect.vm_id(text))?;
        let id = id.ok_or_else(|| self.absent(Column::Vmid, "is empty"))?;
        let action = self.parsed(Column::Action)?;
        let expected = Expected {
            prefix: self.parsed(Column::Prefix)?,
            next_hop: self.parsed(Column::NextHop)?,
            rack_id: self.owned(Column::RackId)?,
            account_id: self.owned(Column::AccountId)?,
            client_id: self.owned(Column::ClientId)?,
            proxmox_vm_id: self.owned(Column::ProxmoxVmId)?,
        };
        let name = self.owned(Column::Name)?;
        for (label, text) in &self.labels {
            bounded(label, label, MAX_NAME)?;
            bounded(label, text, MAX_LABEL)?;
        }
        Ok(Vm { id, name, action, expected, labels: self.labels })
    }

    /// Why the row has no action of its own; `None` where it has one.
    pub(super) fn no_action(&self) -> Option<Fault> {
        let has_one = self.cell(Column::Action).is_some();
        (!has_one).then(|| self.absent(Column::Action, "is empty, and no --action was given"))
    }

    fn absent(&self, column: Column, reason: &str) -> Fault {
        let header = self.known[column as usize].as_ref().map_or(column.as_str(), |cell| &cell.header);
        Fault::in_column(header, reason)
    }

    /// A column's header and trimmed text, where there is any.
    pub(super) fn cell(&self, column: Column) -> Option<(&str, &str)> {
        let Cell { header, text } = self.known[column as usize].as_ref()?;
        Some((header.as_ref(), text.trim())).filter(|(_, text)| !text.is_empty())
    }

    fn owned(&self, column: Column) -> Result<Option<String>, Fault> {
        let cell = self.cell(column).map(|(header, text)| bounded(header, text, MAX_NAME));
        Ok(cell.transpose()?.map(str::to_owned))
    }

    fn parsed<T: FromStr<Err: Display>>(&self, column: Column) -> Result<Option<T>, Fault> {
        self.parsed_by(column, T::from_str)
    }

    fn parsed_by<T, E: Display>(
        &self,
        column: Column,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Fault> {
        let Some((header, text)) = self.cell(column) else { return Ok(None) };
        let fault = |error| Fault::in_column(header, format!("\"{}\": {error}", spelled_out(text)));
        parse(text).map(Some).map_err(fault)
    }
}

/// The text, unless it is longer than so many characters.
fn bounded<'t>(header: &str, text: &'t str, most: usize) -> Result<&'t str, Fault> {
    // No text has more characters than bytes.
    match text.len() > most && text.chars().count() > most {
        true => Err(Fault::in_column(header, format!("longer than {} characters", count(most as u64)))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Action;

    type Row = &'static [(Column, &'static str)];

    fn cells(cells: Row) -> Cells<'static> {
        let mut row = Cells::default();
        for &(column, text) in cells {
            row.set(column, "Header".into(), text.into());
        }
        row.label("role", " db ");
        row.label("owner", "");
        row
    }

    #[test]
    fn known_columns_are_trimmed_and_labels_are_kept_as_they_are() {
        let all = cells(&[
            (Column::Vmid, " 10000 "),
            (Column::Name, " web 1\t"),
            (Column::RackId, " dc1r28"),
            (Column::Action, " allocate"),
            (Column::Prefix, "2001:db8::/48 "),
            (Column::NextHop, " 2001:db8::1"),
            (Column::ProxmoxVmId, "  "),
            (Column::ClientId, "30000 "),
        ])
        .into_vm(Dialect::V1)
        .unwrap();
        assert_eq!((all.id.as_str(), all.name.as_deref()), ("10000", Some("web 1")));
        assert_eq!(all.action, Some(Action::Allocate));
        assert_eq!(all.expected.rack_id.as_deref(), Some("dc1r28"));
        assert_eq!(all.expected.prefix.unwrap().as_str(), "2001:db8::/48");
        assert_eq!(all.expected.next_hop.unwrap().as_str(), "2001:db8::1");
        assert_eq!((all.expected.proxmox_vm_id, all.expected.client_id.as_deref()), (None, Some("30000")));
        assert_eq!(all.labels, [("role".to_owned(), " db ".to_owned())]);
    }

    #[test]
    fn a_bad_cell_is_named_by_the_files_own_header() {
        let cases: [(Row, &str, &str); 6] = [
            (&[], "vmid", "is empty"),
            (&[(Column::Vmid, " ")], "Header", "is empty"),
            (
                &[(Column::Vmid, "1.0")],
                "Header",
                "\"1.0\": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)",
            ),
            (
                &[(Column::Vmid, "1"), (Column::Action, "release\u{7}")],
                "Header",
                "\"release\\u{7}\": unknown action (allocate or refresh_next_hop)",
            ),
            (
                &[(Column::Vmid, "1"), (Column::Prefix, "10.0.0.0/8")],
                "Header",
                "\"10.0.0.0/8\": not an IPv6 network in CIDR notation such as 2001:db8::/48",
            ),
            (
                &[(Column::Vmid, "1"), (Column::NextHop, "gw")],
                "Header",
                "\"gw\": not an IPv6 address such as 2001:db8::1",
            ),
        ];
        for (row, column, reason) in cases {
            assert_eq!(
                cells(row).into_vm(Dialect::V1).unwrap_err(),
                Fault { column: column.into(), reason: reason.into() }
            );
        }
    }

    #[test]
    fn a_row_says_where_its_action_is_not() {
        for (row, column) in [
            (&[][..], Some("action")),
            (&[(Column::Action, " ")], Some("Header")),
            (&[(Column::Action, "x")], None),
        ] {
            let fault = cells(row).no_action();
            assert_eq!(fault.as_ref().map(|fault| fault.column.as_str()), column);
        }
    }

    #[test]
    fn names_racks_ids_and_labels_have_a_limit_and_nothing_is_cut() {
        let named = [Column::Name, Column::RackId, Column::AccountId, Column::ClientId, Column::ProxmoxVmId];
        for (length, is_valid) in [(MAX_NAME, true), (MAX_NAME + 1, false)] {
            let text = "å".repeat(length);
            for column in named {
                let mut row = cells(&[(Column::Vmid, "1")]);
                row.set(column, "Header".into(), text.as_str().into());
                let vm = row.into_vm(Dialect::V1);
                assert_eq!(vm.is_ok(), is_valid, "{column:?}");
                let fault = Fault { column: "Header".into(), reason: "longer than 255 characters".into() };
                assert!(is_valid || vm == Err(fault));
            }
            let mut row = cells(&[(Column::Vmid, "1")]);
            row.label(&text, "x");
            assert_eq!(row.into_vm(Dialect::V1).is_ok(), is_valid);
        }
        for (length, is_valid) in [(MAX_LABEL, true), (MAX_LABEL + 1, false)] {
            let mut row = cells(&[(Column::Vmid, "1")]);
            row.label("note", "å".repeat(length));
            let fault = Fault { column: "note".into(), reason: "longer than 32,767 characters".into() };
            assert_eq!(row.into_vm(Dialect::V1).map(|_| ()), if is_valid { Ok(()) } else { Err(fault) });
        }
    }
}
