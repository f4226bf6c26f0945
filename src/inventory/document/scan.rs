//! What is not the list: looked through for lists that are there, and for what says that there are more pages.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::Document;
use crate::inventory::page::{Beside, Rows, Scalar};

/// The visits of a [`Visitor`] that leave every scalar to its `scalar`.
macro_rules! scalars {
    ($value:ty) => {
        fn visit_bool<F: de::Error>(self, value: bool) -> Result<$value, F> {
            self.scalar(if value { Scalar::Set } else { Scalar::Unset }, Unexpected::Bool(value))
        }

        fn visit_i64<F: de::Error>(self, value: i64) -> Result<$value, F> {
            self.scalar(Scalar::Set, Unexpected::Signed(value))
        }

        fn visit_u64<F: de::Error>(self, value: u64) -> Result<$value, F> {
            let scalar = if value == 0 { Scalar::Unset } else { Scalar::Number(value) };
            self.scalar(scalar, Unexpected::Unsigned(value))
        }

        fn visit_f64<F: de::Error>(self, value: f64) -> Result<$value, F> {
            self.scalar(Scalar::Set, Unexpected::Float(value))
        }

        fn visit_str<F: de::Error>(self, value: &str) -> Result<$value, F> {
            let scalar = if value.trim().is_empty() { Scalar::Unset } else { Scalar::Set };
            self.scalar(scalar, Unexpected::Other("a text"))
        }

        fn visit_unit<F: de::Error>(self) -> Result<$value, F> {
            self.scalar(Scalar::Unset, Unexpected::Unit)
        }
    };
}

pub(super) use scalars;

/// What kind of value was scanned.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Object,
    List,
    Scalar,
}

/// Whether an object may be a list itself: all its values are objects.
#[derive(Default)]
pub(super) struct Keyed {
    pub(super) objects: u64,
    others: u64,
}

impl Keyed {
    pub(super) fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Object => self.objects += 1,
            Kind::List | Kind::Scalar => self.others += 1,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        self.objects > 0 && self.others == 0
    }
}

/// Looks through what is not the list: for lists that are there, and for what says that there are more pages.
pub(super) struct Scan<'d, 'p, 'e, 'f, E> {
    pub(super) document: &'d mut Document<'p, 'e, 'f, E>,
    pub(super) beside: Beside,
}

impl<E> Scan<'_, '_, '_, '_, E> {
    pub(super) fn scalar<F: de::Error>(self, scalar: Scalar, _: Unexpected<'_>) -> Result<Kind, F> {
        let Beside { path, mark, .. } = &self.beside;
        mark.map_or(Ok(()), |mark| self.document.pages.note(mark, path, scalar)).map_err(F::custom)?;
        Ok(Kind::Scalar)
    }
}

impl<'de, E> DeserializeSeed<'de> for Scan<'_, '_, '_, '_, E> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E> Visitor<'de> for Scan<'_, '_, '_, '_, E> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let Self { document, beside } = self;
        let mut keyed = Keyed::default();
        while let Some(key) = document.next_key(&mut map)? {
            keyed.note(map.next_value_seed(Scan { document, beside: beside.below(&key) })?);
        }
        if keyed.is_list() {
            document.lists.note(&beside.path, Rows::Keyed(keyed.objects));
        }
        Ok(Kind::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Kind, A::Error> {
        let Self { document, beside } = self;
        if beside.is_about_pages {
            document.links(&beside, elements)?;
            return Ok(Kind::List);
        }
        document.place.allow(usize::MAX);
        let rows = elements.next_element::<Rows>()?.unwrap_or(Rows::None);
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        document.lists.note(&beside.path, rows);
        Ok(Kind::List)
    }

    scalars!(Kind);
}

/// What a list holds is told by its first element.
impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowsVisitor)
    }
}

struct RowsVisitor;

macro_rules! no_rows {
    ($($visit:ident: $kind:ty),*) => {$(
        fn $visit<F>(self, _: $kind) -> Result<Rows, F> {
            Ok(Rows::None)
        }
    )*};
}

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Rows::Listed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Rows, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Rows::None)
    }

    fn visit_unit<F>(self) -> Result<Rows, F> {
        Ok(Rows::None)
    }

    no_rows!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}
