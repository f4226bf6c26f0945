//! A JSON document, which is a list of VMs or holds one, read as a stream: one element of the list is held at a time,
//! however long the list is. What stands beside the list is looked through for what it says of it.

mod part;
mod place;
mod read;
mod scan;

use serde::de::{self, MapAccess, SeqAccess};
use serde_json::Value;

pub(super) use read::{Halt, read_document};

use super::error::listed;
use super::json::Element;
use super::nearest::nearest;
use super::page::{Beside, Lists, Pages, Rows, Scalar};
use super::path::Path;
use super::source::MAX_ROW_BYTES;
use place::Place;

/// The field that holds an element's key, where the list is an object.
const KEY: &str = "@key";

/// The longest text beside the list: what is left unread may be endless, but is read a text at a time.
const MAX_TEXT_BYTES: usize = 16 * MAX_ROW_BYTES;

/// Where an element is: the line that it starts on, and which of the list it is, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) row: u64,
}

type Each<'e, E> = dyn FnMut(Spot, Element) -> Result<(), E> + 'e;

/// A document as far as it was read.
struct Document<'p, 'e, 'f, E> {
    place: &'p Place,
    items: Option<&'p Path>,
    each: &'e mut Each<'f, E>,
    failed: Option<E>,
    /// The path of the list that was read.
    list: Option<String>,
    rows: u64,
    lists: Lists,
    pages: Pages,
}

impl<E> Document<'_, '_, '_, E> {
    /// That there was a list, and all of it.
    fn check(&self) -> Result<(), String> {
        match &self.list {
            Some(_) => self.pages.check(self.rows),
            None => Err(self.no_list()),
        }
    }

    fn no_list(&self) -> String {
        let lists = listed(self.lists.paths());
        let lists = if lists.is_empty() { lists } else { format!("; lists are at: {lists}") };
        match self.items {
            Some(path) => {
                let near = nearest(&path.to_string(), self.lists.paths());
                let near = if near.is_empty() { near } else { format!("; the nearest: {near}") };
                format!("there is no list at {path} (--items){near}{lists}")
            }
            None if lists.is_empty() => {
                "an object without a list of VMs under vms, results or data (one object a \
                 line is JSON Lines: name it .jsonl, or add --inventory-format jsonl)"
                    .into()
            }
            None => {
                format!("an object without a list of VMs under vms, results or data: add --items PATH{lists}")
            }
        }
    }

    /// The next key beside or above the list.
    fn next_key<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Option<String>, A::Error> {
        self.place.allow(MAX_ROW_BYTES);
        let key = map.next_key();
        self.place.allow(MAX_TEXT_BYTES);
        key
    }

    /// A list of addresses that the list of VMs may be told of with: `[{"rel": "next", "href": "…"}]`.
    fn links<'de, A: SeqAccess<'de>>(&mut self, beside: &Beside, mut list: A) -> Result<(), A::Error> {
        let mut rows = Rows::None;
        loop {
            self.place.allow(MAX_TEXT_BYTES);
            let Some(element) = list.next_element::<Value>()? else { break };
            if element.is_object() {
                rows = Rows::Listed;
            }
            let text = |key: &str| element[key].as_str().filter(|text| !text.is_empty());
            if let Some((rel, _)) = text("rel").zip(text("href"))
                && let Beside { path, mark: Some(mark), .. } = beside.below(rel)
            {
                self.pages.note(mark, &path, Scalar::Set).map_err(de::Error::custom)?;
            }
        }
        self.lists.note(&beside.path, rows);
        Ok(())
    }

    /// Begins the list at a path.
    fn begin<F: de::Error>(&mut self, path: String) -> Result<(), F> {
        match self.list.replace(path) {
            None => Ok(()),
            Some(first) => {
                let second = self.list.take().unwrap_or_default();
                Err(F::custom(format!(
                    "two lists of VMs: under {first} and under {second}: say which with --items"
                )))
            }
        }
    }

    /// Hands on the next element of the list.
    fn hand_on<F: de::Error>(&mut self, element: Element) -> Result<(), F> {
        self.rows += 1;
        let spot = Spot { line: self.place.element.get(), row: self.rows };
        (self.each)(spot, element).map_err(|error| {
            self.failed = Some(error);
            F::custom("stopped by the caller")
        })
    }
}
