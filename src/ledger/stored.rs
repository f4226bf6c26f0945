//! What stands in a ledger as JSON: what reports have too, in shapes of the ledger's own, so that a field that a report
//! renames keeps its name here, and what an older ledger holds stays readable. What is the ledger's alone ([`super::dating`],
//! expectations, labels) stands as it is.
//!
//! A shape lists every field of its type: one that is added, renamed or dropped does not compile until it is said here what
//! older ledgers have in its place (`serde(default)`, `serde(alias)`).

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::{Contribution, Counts, WrittenFile};
use crate::allocation::{Allocation, Change, Drift, Expected, Field, Moment, NextHop, Prefix};
use crate::difference::Ids;
use crate::inventory::InventoryFile;
use crate::outcome::Kind;

/// A type that stands in the ledger in a shape of its own.
pub(super) trait Shaped: Sized {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

macro_rules! shape {
    ($type:ident, $name:literal as $shape:ident { $($(#[$meta:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(remote = $name)]
        struct $shape { $($(#[$meta])* $field: $kind),* }

        impl Shaped for $type {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $shape::serialize(self, serializer)
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $shape::deserialize(deserializer)
            }
        }
    };
}

/// An allocation's fields in this order; one that is added goes to the end. Until schema 5 by name.
#[derive(Deserialize)]
#[serde(remote = "Allocation")]
struct AllocationShape {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    rack_id: Option<String>,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    account_id: Option<String>,
    #[serde(default)]
    proxmox_vm_id: Option<String>,
    prefix: Prefix,
    #[serde(default)]
    next_hop: Option<NextHop>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    allocated_at: Option<Moment>,
    #[serde(default)]
    released_at: Option<Moment>,
    #[serde(default)]
    cooldown_until: Option<Moment>,
    #[serde(default)]
    created_at: Option<Moment>,
    #[serde(default)]
    updated_at: Option<Moment>,
    #[serde(default)]
    metadata_updated_at: Option<Moment>,
}

impl Shaped for Allocation {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            id,
            rack_id,
            client_id,
            account_id,
            proxmox_vm_id,
            prefix,
            next_hop,
            status,
            allocated_at,
            released_at,
            cooldown_until,
            created_at,
            updated_at,
            metadata_updated_at,
        } = self;
        let ids = [id, rack_id, client_id, account_id, proxmox_vm_id].map(Option::as_deref);
        let network = [Some(prefix.as_str()), next_hop.as_ref().map(NextHop::as_str), status.as_deref()];
        let times = [allocated_at, released_at, cooldown_until, created_at, updated_at, metadata_updated_at]
            .map(|time| time.as_ref().map(Moment::as_str));
        serializer.collect_seq(ids.into_iter().chain(network).chain(times))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AllocationShape::deserialize(deserializer)
    }
}

shape! { Change, "Change" as ChangeShape { field: Field, before: String, after: String } }

shape! { Drift, "Drift" as DriftShape { field: Field, expected: String, actual: String } }

/// The ids of an allocation, in this order: allocation, account, client, Proxmox VM.
#[derive(Deserialize)]
struct IdsShape([Option<String>; 4]);

/// Until schema 5.
#[derive(Deserialize)]
struct NamedIds {
    id: Option<String>,
    account_id: Option<String>,
    client_id: Option<String>,
    proxmox_vm_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyIds {
    InOrder(IdsShape),
    ByName(NamedIds),
}

impl Shaped for Ids {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, account_id, client_id, proxmox_vm_id } = self;
        let ids = [id, account_id, client_id, proxmox_vm_id].map(Option::as_deref);
        ids.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match AnyIds::deserialize(deserializer)? {
            AnyIds::InOrder(IdsShape([id, account_id, client_id, proxmox_vm_id]))
            | AnyIds::ByName(NamedIds { id, account_id, client_id, proxmox_vm_id }) => {
                Self { id, account_id, client_id, proxmox_vm_id }
            }
        })
    }
}

shape! {
    Counts, "Counts" as CountsShape {
        /// Stands with the run.
        #[serde(skip)]
        kind: Kind,
        selected: u64,
        created: u64,
        unchanged: u64,
        updated: u64,
        #[serde(default, skip_serializing_if = "is_none")]
        create: u64,
        #[serde(default, skip_serializing_if = "is_none")]
        update: u64,
        #[serde(default, skip_serializing_if = "is_none")]
        keep: u64,
        #[serde(default, skip_serializing_if = "is_none")]
        blocked: u64,
        failed: u64,
        /// Not kept until version 0.2.
        #[serde(default)]
        not_attempted: u64,
    }
}

shape! { WrittenFile, "WrittenFile" as WrittenFileShape { path: String, bytes: u64, sha256: String } }

shape! { Contribution, "Contribution" as ContributionShape {
    host: String, pid: u32, since: Timestamp, until: Timestamp, lost: bool, settled: u64, failed: u64,
} }

shape! { InventoryFile, "InventoryFile" as InventoryFileShape { path: String, sha256: String } }

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(vms: &u64) -> bool {
    *vms == 0
}

/// A value in its shape.
struct InShape<T>(T);

impl<T: Shaped> Serialize for InShape<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

impl<'de, T: Shaped> Deserialize<'de> for InShape<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

/// JSON text; `None` where it cannot be written, which no type of ours brings about.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// Like [`json`], but an empty list takes no room.
pub(super) fn json_list<T: Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| json(list)).flatten()
}

/// What is expected beside the rack, which stands apart; nothing takes no room.
pub(super) fn beside_the_rack(expected: &Expected) -> Option<String> {
    let expected = Expected { rack_id: None, ..expected.clone() };
    (expected != Expected::default()).then(|| json(&expected)).flatten()
}

pub(super) fn write<T: Shaped>(value: &T) -> Option<String> {
    json(&InShape(value))
}

/// An empty list takes no room.
pub(super) fn write_list<T: Shaped>(list: &[T]) -> Option<String> {
    json_list(&list.iter().map(InShape).collect::<Vec<_>>())
}

pub(super) fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(json)
}

pub(super) fn read<T: Shaped>(json: &str) -> Result<T, serde_json::Error> {
    from_json(json).map(|InShape(value)| value)
}

pub(super) fn read_list<T: Shaped>(json: &str) -> Result<Vec<T>, serde_json::Error> {
    let list: Vec<InShape<T>> = from_json(json)?;
    Ok(list.into_iter().map(|InShape(value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::tests::example;

    /// Written by version 0.1.
    const ALLOCATION: &str = r#"{"id":"3","rack_id":"dc1r28","client_id":null,"account_id":"20000","proxmox_vm_id":"10048",
        "prefix":"2001:db8::/48","next_hop":"2001:db8::1","status":"active",
        "allocated_at":"2026-02-10 00:00:00.658429+00","released_at":null,"cooldown_until":null,
        "created_at":"2026-02-10 00:00:00.658429+00","updated_at":"2026-02-10 00:00:00.658429+00","metadata_updated_at":null}"#;

    #[test]
    fn what_older_ledgers_hold_is_read() {
        let allocation: Allocation = read(ALLOCATION).unwrap();
        assert_eq!((allocation.id.as_deref(), allocation.client_id), (Some("3"), None));
        assert_eq!(allocation.prefix.as_str(), "2001:db8::/48");
        let counts: Counts =
            read(r#"{"selected":3,"created":1,"unchanged":2,"updated":0,"failed":0}"#).unwrap();
        assert_eq!((counts.selected, counts.not_attempted), (3, 0));
        let changes: Vec<Change> =
            read_list(r#"[{"field":"next_hop","before":"2001:db8::1","after":"2001:db8::2"}]"#).unwrap();
        assert_eq!((changes[0].field, changes[0].after.as_str()), (Field::NextHop, "2001:db8::2"));
        let drift: Vec<Drift> = read_list(r#"[{"field":"rack_id","expected":"a","actual":"b"}]"#).unwrap();
        assert_eq!((drift[0].field, drift[0].actual.as_str()), (Field::RackId, "b"));
        let ids: Ids = read(r#"{"id":"3","account_id":null,"client_id":"1","proxmox_vm_id":"2"}"#).unwrap();
        assert_eq!((ids.id.as_deref(), ids.account_id), (Some("3"), None));
        let files: Vec<InventoryFile> = read_list(r#"[{"path":"-","sha256":"7f"}]"#).unwrap();
        assert_eq!((files[0].path.as_str(), files[0].sha256.as_str()), ("-", "7f"));
    }

    #[test]
    fn what_is_written_is_read_again_to_the_letter() {
        let allocation = Allocation { client_id: None, ..example() };
        let text = write(&allocation).unwrap();
        assert!(text.starts_with(r#"["3","dc1r28",null,"20000","10048","2001:db8::1/48","#), "{text}");
        assert!(read::<Allocation>(&text).unwrap().is_the_very(&allocation));
        let ids = Ids::from(&allocation);
        assert_eq!(read::<Ids>(&write(&ids).unwrap()).unwrap(), ids);
        assert_eq!((write_list::<Drift>(&[]), json_list::<String>(&[])), (None, None));
    }
}
