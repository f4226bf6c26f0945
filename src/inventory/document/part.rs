//! A part of the document that the list of VMs is, or is in: from the whole down to it.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Value;

use super::place::Placed;
use super::scan::{Keyed, Scan, scalars};
use super::{Document, KEY};
use crate::inventory::json::{ENVELOPES, Element};
use crate::inventory::page::{Beside, Rows, Scalar};
use crate::inventory::path::joined;
use crate::inventory::source::MAX_ROW_BYTES;
use crate::text::spelled_out;

/// Where the list is, seen from a part of the document.
#[derive(Clone, Copy)]
pub(super) enum Whereabouts<'k> {
    /// It is this part, or under one of the usual names.
    Unknown,
    /// This part has one of the usual names.
    Expected,
    /// Under these keys.
    Under(&'k [String]),
}

/// A part of the document that the list is, or is in.
pub(super) struct Part<'d, 'k, 'p, 'e, 'f, E> {
    pub(super) document: &'d mut Document<'p, 'e, 'f, E>,
    pub(super) whereabouts: Whereabouts<'k>,
    pub(super) path: String,
}

impl<'k, E> Part<'_, 'k, '_, '_, '_, E> {
    /// Where the list is, seen from what is under a key; `None` where it is not there.
    fn under(&self, key: &str) -> Option<Whereabouts<'k>> {
        match self.whereabouts {
            Whereabouts::Unknown => ENVELOPES.contains(&key).then_some(Whereabouts::Expected),
            Whereabouts::Expected => None,
            Whereabouts::Under(keys) => {
                let (first, rest) = keys.split_first()?;
                (first == key).then_some(Whereabouts::Under(rest))
            }
        }
    }

    fn beside(&self) -> Beside {
        Beside::above(&self.path)
    }

    fn scalar<F: de::Error>(self, scalar: Scalar, unexpected: Unexpected<'_>) -> Result<(), F> {
        match self.whereabouts {
            Whereabouts::Unknown | Whereabouts::Under([]) => Err(F::invalid_type(unexpected, &self)),
            Whereabouts::Under(_) => Ok(()),
            Whereabouts::Expected => {
                let beside = self.beside();
                Scan { document: self.document, beside }.scalar(scalar, unexpected).map(drop)
            }
        }
    }

    /// The elements of an object that is the list, each with its key.
    fn keyed<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { document, path, .. } = self;
        document.begin(path)?;
        let (hashes, mut keys) = (RandomState::new(), HashSet::new());
        loop {
            document.place.allow(MAX_ROW_BYTES);
            let Some(key) = map.next_key::<String>()? else { return Ok(()) };
            let is_new = keys.insert(hashes.hash_one(&key));
            let mut element = map.next_value_seed(Placed(document.place))?;
            if let Element::Object { fields, doubled } = &mut element {
                fields.insert(0, (KEY.to_owned(), Value::String(key)));
                if !is_new {
                    doubled.get_or_insert_with(|| KEY.to_owned());
                }
            }
            document.hand_on(element)?;
        }
    }
}

impl<'de, E> DeserializeSeed<'de> for Part<'_, '_, '_, '_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E> Visitor<'de> for Part<'_, '_, '_, '_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whereabouts {
            Whereabouts::Unknown => {
                f.write_str("a list of VMs, or an object that holds one under vms, results or data")
            }
            Whereabouts::Expected | Whereabouts::Under(_) => {
                write!(f, "a list of VMs at {}", spelled_out(&self.path))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if let Whereabouts::Under([_, ..]) = self.whereabouts {
            let beside = self.beside();
            return Scan { document: self.document, beside }.visit_seq(elements).map(drop);
        }
        let Self { document, path, .. } = self;
        document.begin(path)?;
        loop {
            document.place.allow(MAX_ROW_BYTES);
            let Some(element) = elements.next_element_seed(Placed(document.place))? else { return Ok(()) };
            document.hand_on(element)?;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.whereabouts {
            Whereabouts::Under([]) => return self.keyed(map),
            Whereabouts::Expected => {
                let beside = self.beside();
                return Scan { document: self.document, beside }.visit_map(map).map(drop);
            }
            Whereabouts::Unknown | Whereabouts::Under(_) => {}
        }
        let mut entered = HashSet::new();
        let mut keyed = Keyed::default();
        while let Some(key) = self.document.next_key(&mut map)? {
            let Some(whereabouts) = self.under(&key) else {
                let beside = Beside::the_list(&self.path, &key);
                keyed.note(map.next_value_seed(Scan { document: self.document, beside })?);
                continue;
            };
            let path = joined(&self.path, &key);
            if !entered.insert(key) {
                return Err(de::Error::custom(format!("the key {} is there twice", spelled_out(&path))));
            }
            map.next_value_seed(Part { document: self.document, whereabouts, path })?;
        }
        let is_whole = self.path.is_empty();
        if is_whole && entered.is_empty() && keyed.is_list() {
            self.document.lists.note(".", Rows::Keyed(keyed.objects));
        }
        match &self.document.list {
            None if is_whole => Err(de::Error::custom(self.document.no_list())),
            _ => Ok(()),
        }
    }

    scalars!(());
}
