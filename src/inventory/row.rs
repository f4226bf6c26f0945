//! One row's cells, whatever format they came in, → one checked [`Vm`].

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use super::columns::Column;
use super::error::{Fault, shown};
use super::vm::{Vm, VmId};
use crate::allocation::Expected;

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

    /// Checks the row. `action_given`: a row needs no action of its own.
    pub(super) fn into_vm(self, action_given: bool) -> Result<Vm, Fault> {
        let id: VmId = self.parsed(Column::Vmid)?.ok_or_else(|| self.absent(Column::Vmid, "is empty"))?;
        let action = self.parsed(Column::Action)?;
        if action.is_none() && !action_given {
            return Err(self.absent(Column::Action, "is empty, and no --action was given"));
        }
        let expected = Expected {
            prefix: self.parsed(Column::Prefix)?,
            next_hop: self.parsed(Column::NextHop)?,
            rack_id: self.owned(Column::RackId),
            account_id: self.owned(Column::AccountId),
            client_id: self.owned(Column::ClientId),
            proxmox_vm_id: self.owned(Column::ProxmoxVmId),
        };
        Ok(Vm { id, name: self.owned(Column::Name), action, expected, labels: self.labels })
    }

    fn absent(&self, column: Column, reason: &str) -> Fault {
        let header = self.known[column as usize].as_ref().map_or(column.as_str(), |cell| &cell.header);
        Fault::in_column(header, reason)
    }

    /// A column's header and trimmed text, where there is any.
    fn cell(&self, column: Column) -> Option<(&str, &str)> {
        let Cell { header, text } = self.known[column as usize].as_ref()?;
        Some((header.as_ref(), text.trim())).filter(|(_, text)| !text.is_empty())
    }

    fn owned(&self, column: Column) -> Option<String> {
        self.cell(column).map(|(_, text)| text.to_owned())
    }

    fn parsed<T: FromStr<Err: Display>>(&self, column: Column) -> Result<Option<T>, Fault> {
        let Some((header, text)) = self.cell(column) else { return Ok(None) };
        let fault = |error| Fault::in_column(header, format!("\"{}\": {error}", shown(text)));
        text.parse().map(Some).map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::super::vm::Action;
    use super::*;

    type Row = &'static [(Column, &'static str)];

    fn vm(cells: Row, action_given: bool) -> Result<Vm, Fault> {
        let mut row = Cells::default();
        for &(column, text) in cells {
            row.set(column, "Header".into(), text.into());
        }
        row.label("role", " db ");
        row.label("owner", "");
        row.into_vm(action_given)
    }

    #[test]
    fn known_columns_are_trimmed_and_labels_are_kept_as_they_are() {
        let all = vm(
            &[
                (Column::Vmid, " 10000 "),
                (Column::Name, " web 1\t"),
                (Column::RackId, " dc1r28"),
                (Column::Action, " allocate"),
                (Column::Prefix, "2001:db8::/48 "),
                (Column::NextHop, " 2001:db8::1"),
                (Column::ProxmoxVmId, "  "),
                (Column::ClientId, "30000 "),
            ],
            false,
        )
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
        let cases: [(Row, bool, &str, &str); 7] = [
            (&[], true, "vmid", "is empty"),
            (&[(Column::Vmid, " ")], true, "Header", "is empty"),
            (
                &[(Column::Vmid, "1.0")],
                true,
                "Header",
                "\"1.0\": not a HostUp VM id (an integer from 1 to 9223372036854775807, such as 10000)",
            ),
            (&[(Column::Vmid, "1")], false, "action", "is empty, and no --action was given"),
            (
                &[(Column::Vmid, "1"), (Column::Action, "release\u{7}")],
                true,
                "Header",
                "\"release\\u{7}\": unknown action (allocate or refresh_next_hop)",
            ),
            (
                &[(Column::Vmid, "1"), (Column::Prefix, "10.0.0.0/8")],
                true,
                "Header",
                "\"10.0.0.0/8\": not an IPv6 network in CIDR notation such as 2001:db8::/48",
            ),
            (
                &[(Column::Vmid, "1"), (Column::NextHop, "gw")],
                true,
                "Header",
                "\"gw\": not an IPv6 address such as 2001:db8::1",
            ),
        ];
        for (cells, action_given, column, reason) in cases {
            assert_eq!(
                vm(cells, action_given).unwrap_err(),
                Fault { column: column.into(), reason: reason.into() }
            );
        }
    }
}
