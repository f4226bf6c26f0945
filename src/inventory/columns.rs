//! Which column of a file holds which field of a VM.

use std::str::FromStr;

use crate::text::escape;

/// A field of a VM that we know the meaning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    VmId,
    Name,
    RackId,
    Action,
    Prefix,
    NextHop,
    ProxmoxVmId,
    ClientId,
    AccountId,
}

impl Field {
    pub(super) const ALL: [Self; 9] = [
        Self::VmId,
        Self::Name,
        Self::RackId,
        Self::Action,
        Self::Prefix,
        Self::NextHop,
        Self::ProxmoxVmId,
        Self::ClientId,
        Self::AccountId,
    ];

    pub(super) fn as_str(self) -> &'static str {
        self.headers()[0]
    }

    /// The headers that stand for the field by themselves.
    fn headers(self) -> &'static [&'static str] {
        match self {
            Self::VmId => &["vmid", "vm_id"],
            Self::Name => &["name", "hostname"],
            Self::RackId => &["rack_id", "rack"],
            Self::Action => &["action"],
            Self::Prefix => &["prefix"],
            Self::NextHop => &["next_hop"],
            Self::ProxmoxVmId => &["proxmox_vm_id"],
            Self::ClientId => &["client_id"],
            Self::AccountId => &["account_id"],
        }
    }
}

/// One `--column FIELD=HEADER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(super) field: Field,
    pub(super) header: String,
}

/// Why a text is not a [`Mapping`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    #[error("write FIELD=HEADER, such as vmid=cf_hostup_vmid")]
    Form,
    #[error(
        "unknown field {0:?} (vmid, name, rack_id, action, prefix, next_hop, proxmox_vm_id, client_id, account_id)"
    )]
    Field(String),
}

impl FromStr for Mapping {
    type Err = InvalidMapping;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, header) = text.split_once('=').ok_or(InvalidMapping::Form)?;
        let field = Field::ALL.into_iter().find(|field| field.headers().contains(&name.trim()));
        let field = field.ok_or_else(|| InvalidMapping::Field(name.to_owned()))?;
        match header.trim() {
            "" => Err(InvalidMapping::Form),
            header => Ok(Self { field, header: header.to_owned() }),
        }
    }
}

/// What is wrong with a file's headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidColumns {
    #[error("no vmid column (found: {0}); name the one with HostUp's VM id: --column vmid=HEADER")]
    NoVmId(String),
    #[error("--column {field}={header}: there is no such column (found: {found})", field = field.as_str(), header = escape(header))]
    NoSuchColumn { field: Field, header: String, found: String },
    #[error("both {} and {} stand for the same field; name one with --column", escape(first), escape(second))]
    Ambiguous { first: String, second: String },
    #[error("two columns are called {0:?}")]
    Duplicate(String),
}

/// What the column called `header` holds: a field, or (`None`) a label.
///
/// A mapped header is its field alone, and the field's own header is a label then.
pub(super) fn field_of(header: &str, mappings: &[Mapping]) -> Option<Field> {
    if let Some(mapping) = mappings.iter().find(|mapping| mapping.header == header) {
        return Some(mapping.field);
    }
    let own = Field::ALL.into_iter().find(|field| field.headers().contains(&header))?;
    mappings.iter().all(|mapping| mapping.field != own).then_some(own)
}

/// What every column of a file holds, by its place.
pub(super) fn resolve(
    headers: &[String],
    mappings: &[Mapping],
) -> Result<Vec<Option<Field>>, InvalidColumns> {
    let found = || headers.iter().map(|header| escape(header).into_owned()).collect::<Vec<_>>().join(", ");
    for (index, header) in headers.iter().enumerate() {
        if headers[..index].contains(header) {
            return Err(InvalidColumns::Duplicate(header.clone()));
        }
    }
    if let Some(missing) = mappings.iter().find(|mapping| !headers.contains(&mapping.header)) {
        let Mapping { field, header } = missing.clone();
        return Err(InvalidColumns::NoSuchColumn { field, header, found: found() });
    }
    let fields: Vec<Option<Field>> = headers.iter().map(|header| field_of(header, mappings)).collect();
    for (index, field) in fields.iter().enumerate().filter(|(_, field)| field.is_some()) {
        if let Some(first) = fields[..index].iter().position(|other| other == field) {
            return Err(InvalidColumns::Ambiguous {
                first: headers[first].clone(),
                second: headers[index].clone(),
            });
        }
    }
    match fields.contains(&Some(Field::VmId)) {
        true => Ok(fields),
        false => Err(InvalidColumns::NoVmId(found())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(headers: &str, mappings: &[&str]) -> Result<Vec<Option<Field>>, InvalidColumns> {
        let headers: Vec<String> = headers.split(',').map(str::to_owned).collect();
        let mappings: Vec<Mapping> = mappings.iter().map(|text| text.parse().unwrap()).collect();
        resolve(&headers, &mappings)
    }

    #[test]
    fn headers_and_their_aliases_are_fields_and_all_others_labels() {
        use Field::{Name, RackId, VmId};
        for headers in ["vmid,name,rack_id,role", "vm_id,hostname,rack,role"] {
            assert_eq!(
                resolved(headers, &[]),
                Ok(vec![Some(VmId), Some(Name), Some(RackId), None]),
                "{headers}"
            );
        }
    }

    #[test]
    fn a_mapped_header_takes_the_place_of_the_fields_own() {
        use Field::{ProxmoxVmId, VmId};
        let proxmox = resolved("vmid,hostup", &["vmid=hostup", "proxmox_vm_id=vmid"]);
        assert_eq!(proxmox, Ok(vec![Some(ProxmoxVmId), Some(VmId)]));
        let netbox = resolved("vmid,cf_hostup_vmid", &["vmid=cf_hostup_vmid"]);
        assert_eq!(netbox, Ok(vec![None, Some(VmId)]));
    }

    #[test]
    fn headers_that_leave_a_doubt_are_refused_with_what_was_found() {
        for (headers, mappings, word) in [
            ("ID,name", vec![], "found: ID, name"),
            ("VMID", vec![], "found: VMID"),
            ("vmid,vm_id", vec![], "both vmid and vm_id"),
            ("vmid,a,a", vec![], "two columns"),
            ("vmid", vec!["name=title"], "no such column"),
        ] {
            let error = resolved(headers, &mappings).unwrap_err().to_string();
            assert!(error.contains(word), "{headers}: {error}");
        }
    }

    #[test]
    fn mappings_name_a_known_field() {
        assert_eq!("vm_id=ID".parse::<Mapping>().unwrap().field, Field::VmId);
        assert_eq!("vmid".parse::<Mapping>(), Err(InvalidMapping::Form));
        assert_eq!("vmid=".parse::<Mapping>(), Err(InvalidMapping::Form));
        assert!(matches!("vm=ID".parse::<Mapping>(), Err(InvalidMapping::Field(_))));
    }
}
