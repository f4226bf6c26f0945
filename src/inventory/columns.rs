//! Which of a file's columns means what: the known names, their aliases, and `--column` for other people's.

use std::str::FromStr;

use super::error::listed;
use super::nearest::nearest;
use crate::text::spelled_out;

/// The most columns one file, or the labels of one fleet, may have.
pub(super) const MAX_COLUMNS: usize = 1000;

/// The longest name of a VM, a rack, an account or a column, in characters.
pub const MAX_NAME: usize = 255;

/// A column that the program knows. Every other one is a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Vmid,
    Name,
    RackId,
    Action,
    Prefix,
    NextHop,
    ProxmoxVmId,
    ClientId,
    AccountId,
}

impl Column {
    pub const ALL: [Self; 9] = [
        Self::Vmid,
        Self::Name,
        Self::RackId,
        Self::Action,
        Self::Prefix,
        Self::NextHop,
        Self::ProxmoxVmId,
        Self::ClientId,
        Self::AccountId,
    ];

    /// Its name in our own inventories and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vmid => "vmid",
            Self::Name => "name",
            Self::RackId => "rack_id",
            Self::Action => "action",
            Self::Prefix => "prefix",
            Self::NextHop => "next_hop",
            Self::ProxmoxVmId => "proxmox_vm_id",
            Self::ClientId => "client_id",
            Self::AccountId => "account_id",
        }
    }

    /// The other name that the column may have.
    pub fn alias(self) -> Option<&'static str> {
        match self {
            Self::Vmid => Some("vm_id"),
            Self::Name => Some("hostname"),
            Self::RackId => Some("rack"),
            Self::Action
            | Self::Prefix
            | Self::NextHop
            | Self::ProxmoxVmId
            | Self::ClientId
            | Self::AccountId => None,
        }
    }

    /// The column that `name`, or its alias, stands for, whatever its case, spaces, hyphens and underscores.
    pub fn named(name: &str) -> Option<Self> {
        let is = |known: &str| letters(known).eq(letters(name));
        Self::ALL.into_iter().find(|column| is(column.as_str()) || column.alias().is_some_and(is))
    }
}

/// What of a name counts when it is compared with ours.
fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).map(|c| c.to_ascii_lowercase())
}

/// One `--column FIELD=HEADER`: where a file that names its columns otherwise has one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub column: Column,
    pub header: String,
}

/// Why a text is not a [`Mapping`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    #[error("not FIELD=HEADER, such as vmid=cf_hostup_vmid")]
    NoPair,
    #[error(
        "no such field: {} (vmid, name, rack_id, action, prefix, next_hop, proxmox_vm_id, client_id or account_id; \
         every other column is a label and needs no mapping)",
        spelled_out(.0)
    )]
    UnknownField(String),
}

impl FromStr for Mapping {
    type Err = InvalidMapping;

    /// The header is what follows the first `=`, white space around it aside.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, header) = text.split_once('=').ok_or(InvalidMapping::NoPair)?;
        let (field, header) = (field.trim(), header.trim());
        if field.is_empty() || header.is_empty() {
            return Err(InvalidMapping::NoPair);
        }
        let column = Column::named(field).ok_or_else(|| InvalidMapping::UnknownField(field.into()))?;
        Ok(Self { column, header: header.into() })
    }
}

/// All of `--column`: at most one header for a column, and one column for a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnMap(Vec<Mapping>);

/// Why mappings do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidColumnMap {
    #[error("{} is mapped twice: from {} and from {}", .column.as_str(), spelled_out(.first), spelled_out(.second))]
    ColumnTwice { column: Column, first: String, second: String },
    #[error("{} is mapped to {} and to {}: it can be only one of them", spelled_out(.header), .first.as_str(), .second.as_str())]
    HeaderTwice { header: String, first: Column, second: Column },
}

impl ColumnMap {
    /// Errors: a column that is mapped twice, or two that are mapped to one header.
    pub fn new(mappings: impl IntoIterator<Item = Mapping>) -> Result<Self, InvalidColumnMap> {
        let mut map = Self::default();
        for Mapping { column, header } in mappings {
            if let Some(first) = map.header_of(column) {
                return Err(InvalidColumnMap::ColumnTwice { column, first: first.into(), second: header });
            }
            if let Some(first) = map.0.iter().find(|mapping| mapping.header == header) {
                return Err(InvalidColumnMap::HeaderTwice { header, first: first.column, second: column });
            }
            map.0.push(Mapping { column, header });
        }
        Ok(map)
    }

    pub(super) fn mappings(&self) -> &[Mapping] {
        &self.0
    }

    pub(super) fn header_of(&self, column: Column) -> Option<&str> {
        self.0.iter().find(|mapping| mapping.column == column).map(|mapping| mapping.header.as_str())
    }

    /// What a header means; `None` is a label. A column that is mapped from elsewhere leaves its own name free.
    pub(super) fn column_of(&self, header: &str) -> Option<Column> {
        let mapped = self.0.iter().find(|mapping| mapping.header == header);
        mapped
            .map(|mapping| mapping.column)
            .or_else(|| Column::named(header).filter(|&column| self.header_of(column).is_none()))
    }
}

/// What each column of a CSV file means, in the file's order.
#[derive(Debug)]
pub(super) struct Header {
    names: Vec<String>,
    meanings: Vec<Option<Column>>,
    /// Columns at the end without a name, in which no row has anything.
    nameless: usize,
}

impl Header {
    /// `Err` says what is wrong with the header row and what to do about it.
    pub(super) fn new(mut names: Vec<String>, map: &ColumnMap) -> Result<Self, String> {
        let last = names.iter().rposition(|name| !name.is_empty());
        let nameless = names.split_off(last.map_or(0, |last| last + 1)).len();
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(format!("column {} has no name", index + 1));
            }
            if name.chars().count() > MAX_NAME {
                return Err(format!("the name of column {} is longer than {MAX_NAME} characters", index + 1));
            }
            if names[..index].contains(name) {
                return Err(format!("two columns are named {}", spelled_out(name)));
            }
        }
        if let Some(absent) = map.mappings().iter().find(|mapping| !names.contains(&mapping.header)) {
            return Err(no_such_column(absent, names.iter().map(String::as_str)));
        }
        let meanings: Vec<_> = names.iter().map(|name| map.column_of(name)).collect();
        for column in Column::ALL {
            let mut same = names.iter().zip(&meanings).filter(|(_, meaning)| **meaning == Some(column));
            if let (Some((first, _)), Some((second, _))) = (same.next(), same.next()) {
                return Err(two_names(column, first, second));
            }
        }
        match meanings.contains(&Some(Column::Vmid)) {
            true => Ok(Self { names, meanings, nameless }),
            false => Err(no_vmid(names.iter().map(String::as_str))),
        }
    }

    /// All columns, nameless ones too.
    pub(super) fn len(&self) -> usize {
        self.names.len() + self.nameless
    }

    /// A column as it is called in messages.
    pub(super) fn name(&self, index: usize) -> String {
        self.names.get(index).map_or_else(|| format!("column {}", index + 1), |name| spelled_out(name))
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, Option<Column>)> {
        self.names().zip(self.meanings.iter().copied())
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.columns().filter(|(_, meaning)| meaning.is_none()).map(|(name, _)| name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Why a header or an object has no vmid, and how to help it to one.
pub(super) fn no_vmid<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    format!(
        "no column is named vmid (or vm_id): if another holds HostUp's id of the VM, add --column vmid=NAME; \
         the columns are: {}",
        listed(names)
    )
}

/// Why a mapped header is nowhere, and which of the names that there are it may have been meant for.
pub(super) fn no_such_column<'a>(
    mapping: &Mapping,
    names: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> String {
    let names = names.into_iter();
    let (header, column) = (spelled_out(&mapping.header), mapping.column.as_str());
    let nearest = nearest(&mapping.header, names.clone());
    let nearest = if nearest.is_empty() { nearest } else { format!("; the nearest: {nearest}") };
    format!(
        "no column is named {header} (--column {column}={header}){nearest}; the columns are: {}",
        listed(names)
    )
}

pub(super) fn two_names(column: Column, first: &str, second: &str) -> String {
    let column = column.as_str();
    format!("both {first} and {second} mean {column}: say which with --column {column}={first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[&str]) -> ColumnMap {
        ColumnMap::new(pairs.iter().map(|pair| pair.parse().unwrap())).unwrap()
    }

    fn header(names: &[&str], pairs: &[&str]) -> Result<Header, String> {
        Header::new(names.iter().map(|&name| name.to_owned()).collect(), &map(pairs))
    }

    #[test]
    fn columns_have_their_name_and_some_an_alias() {
        for column in Column::ALL {
            assert_eq!(Column::named(column.as_str()), Some(column));
            assert!(column.alias().is_none_or(|alias| Column::named(alias) == Some(column)));
        }
        for label in ["ID", "Names", "VM", "vmid.", "role", "", "rack.id", "vm/id"] {
            assert_eq!(Column::named(label), None);
        }
    }

    #[test]
    fn case_spaces_hyphens_and_underscores_are_but_spelling() {
        for (name, column) in [
            ("VMID", Column::Vmid),
            ("VM ID", Column::Vmid),
            ("vm-id", Column::Vmid),
            ("vmId", Column::Vmid),
            ("Host Name", Column::Name),
            ("Rack ID", Column::RackId),
            ("RACK", Column::RackId),
            ("Next-Hop", Column::NextHop),
            ("nextHop", Column::NextHop),
            ("Proxmox VM ID", Column::ProxmoxVmId),
            ("client__id", Column::ClientId),
        ] {
            assert_eq!(Column::named(name), Some(column), "{name}");
        }
    }

    #[test]
    fn a_mapping_is_a_field_and_a_header() {
        let mapping = |text: &str| text.parse::<Mapping>();
        let expected = Mapping { column: Column::Vmid, header: "HostUp = id".into() };
        assert_eq!(mapping("vmid=HostUp = id"), Ok(expected.clone()));
        assert_eq!(mapping(" vm_id = HostUp = id "), Ok(expected));
        for text in ["vmid", "=x", "vmid=", ""] {
            assert_eq!(mapping(text), Err(InvalidMapping::NoPair), "{text}");
        }
        assert!(mapping("role=Role").unwrap_err().to_string().starts_with("no such field: role (vmid, "));
    }

    #[test]
    fn a_column_or_a_header_mapped_twice_is_refused() {
        let refused = |pairs: [&str; 2]| {
            ColumnMap::new(pairs.map(|pair| pair.parse().unwrap())).unwrap_err().to_string()
        };
        assert_eq!(refused(["vmid=a", "vm_id=b"]), "vmid is mapped twice: from a and from b");
        assert_eq!(
            refused(["vmid=a", "name=a"]),
            "a is mapped to vmid and to name: it can be only one of them"
        );
    }

    #[test]
    fn a_mapped_column_leaves_its_own_name_to_a_label() {
        let header =
            header(&["vmid", "hostup", "rack"], &["proxmox_vm_id=vmid", "vmid=hostup", "rack_id=rack"]);
        let meanings: Vec<_> = header.unwrap().columns().map(|(_, meaning)| meaning).collect();
        assert_eq!(meanings, [Some(Column::ProxmoxVmId), Some(Column::Vmid), Some(Column::RackId)]);
        let map = map(&["vmid=hostup"]);
        assert_eq!((map.column_of("vmid"), map.column_of("vm_id")), (None, None));
    }

    #[test]
    fn a_header_that_cannot_be_right_is_refused_with_the_remedy() {
        let long = "x".repeat(MAX_NAME + 1);
        let cases: [(&[&str], &[&str], &str); 8] = [
            (&["vmid", &long], &[], "the name of column 2 is longer than 255 characters"),
            (
                &["vmid", "Name", "hostname"],
                &[],
                "both Name and hostname mean name: say which with --column name=Name",
            ),
            (
                &["ID", "Name"],
                &[],
                "no column is named vmid (or vm_id): if another holds HostUp's id of the VM, \
                 add --column vmid=NAME; the columns are: ID, Name",
            ),
            (&["vmid", "vm_id"], &[], "both vmid and vm_id mean vmid: say which with --column vmid=vmid"),
            (
                &["vmid", "rack", "rack_id"],
                &[],
                "both rack and rack_id mean rack_id: say which with --column rack_id=rack",
            ),
            (&["vmid", "role", "role"], &[], "two columns are named role"),
            (&["vmid", "", "role"], &[], "column 2 has no name"),
            (
                &["vmid", "Labels", "role", ""],
                &["name=Label"],
                "no column is named Label (--column name=Label); the nearest: Labels; the columns are: vmid, Labels, role",
            ),
        ];
        for (names, pairs, expected) in cases {
            assert_eq!(header(names, pairs).unwrap_err(), expected);
        }
    }
}
