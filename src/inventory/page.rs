//! What beside a list says that it is but one page of several: an API's own list is often only its first fifty.

use std::cmp::Reverse;

use super::path::joined;
use crate::text::spelled_out;

/// What a key beside a list may say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Set where there is another page: an address, a cursor, a number, or simply that there is.
    Other,
    /// How many pages there are.
    Pages,
    /// How many rows all pages have.
    Rows,
    /// How many rows came before.
    Offset,
}

/// Spelt as [`letters`] has them.
const OTHER: [&str; 24] = [
    "next",
    "previous",
    "prev",
    "nextpage",
    "previouspage",
    "prevpage",
    "nextpageurl",
    "previouspageurl",
    "prevpageurl",
    "nexturl",
    "nextlink",
    "odatanextlink",
    "nextpagetoken",
    "nexttoken",
    "nextcursor",
    "nextoffset",
    "nextmarker",
    "continue",
    "continuationtoken",
    "hasmore",
    "hasnext",
    "hasnextpage",
    "hasprevious",
    "haspreviouspage",
];
const PAGES: [&str; 5] = ["pages", "totalpages", "pagecount", "numpages", "lastpage"];
const ROWS: [&str; 9] = [
    "count",
    "total",
    "totalcount",
    "totalentries",
    "totalitems",
    "totalresults",
    "totalrecords",
    "totalelements",
    "results",
];
const OFFSET: [&str; 2] = ["offset", "startat"];

/// Objects beside a list that tell of it, and not of something else.
const ABOUT_PAGES: [&str; 10] = [
    "links",
    "meta",
    "metadata",
    "pagination",
    "paging",
    "pager",
    "page",
    "pageinfo",
    "cursor",
    "responsemetadata",
];

fn letters(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl Mark {
    pub(super) fn of(key: &str) -> Option<Self> {
        let key = letters(key);
        let is_one = |marks: &[&str]| marks.contains(&key.as_str());
        match () {
            () if is_one(&OTHER) => Some(Self::Other),
            () if is_one(&PAGES) => Some(Self::Pages),
            () if is_one(&ROWS) => Some(Self::Rows),
            () if is_one(&OFFSET) => Some(Self::Offset),
            () => None,
        }
    }
}

/// Whether marks in the object under this key are about the list.
pub(super) fn is_about_pages(key: &str) -> bool {
    ABOUT_PAGES.contains(&letters(key).as_str())
}

/// A mark's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    /// null, false, 0 or an empty text.
    Unset,
    Number(u64),
    Set,
}

/// What the marks of a document say.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The greatest number of rows that one of them gives, and its path.
    rows: Option<(u64, String)>,
}

impl Pages {
    /// Takes in a mark. `Err` says that there are more pages.
    pub(super) fn note(&mut self, mark: Mark, path: &str, value: Scalar) -> Result<(), String> {
        match (mark, value) {
            (Mark::Other, Scalar::Set | Scalar::Number(_)) => Err(one_of_several(path, "is set")),
            (Mark::Pages, Scalar::Number(number @ 2..)) | (Mark::Offset, Scalar::Number(number @ 1..)) => {
                Err(one_of_several(path, &format!("is {number}")))
            }
            (Mark::Rows, Scalar::Number(rows)) => {
                if self.rows.as_ref().is_none_or(|(most, _)| rows > *most) {
                    self.rows = Some((rows, path.to_owned()));
                }
                Ok(())
            }
            (Mark::Other | Mark::Pages | Mark::Rows | Mark::Offset, _) => Ok(()),
        }
    }

    /// `Err` says that the list has fewer rows than it should.
    pub(super) fn check(&self, listed: u64) -> Result<(), String> {
        match &self.rows {
            Some((rows, path)) if *rows > listed => {
                Err(one_of_several(path, &format!("is {rows}, and the list has {listed}")))
            }
            _ => Ok(()),
        }
    }
}

fn one_of_several(path: &str, why: &str) -> String {
    let path = spelled_out(path);
    format!("this is one page of several (\"{path}\" {why}): fetch all of them, as one list")
}

/// Which rows a list may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// It begins with an object.
    Listed,
    /// It is an object, of nothing but so many objects.
    Keyed(u64),
    None,
}

/// The lists that a document holds, as far as they were not read, and where.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<(Rows, String)>);

impl Lists {
    /// Enough for a message.
    const MOST: usize = 100;

    pub(super) fn note(&mut self, path: &str, rows: Rows) {
        if self.0.len() < Self::MOST {
            let path = if path.is_empty() { "." } else { path };
            self.0.push((rows, path.to_owned()));
        }
    }

    /// Their paths, those first in which rows are most likely.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let mut lists: Vec<_> = self.0.iter().collect();
        lists.sort_by_key(|(rows, _)| match rows {
            Rows::Listed => (0, Reverse(0)),
            Rows::Keyed(objects) => (1, Reverse(*objects)),
            Rows::None => (2, Reverse(0)),
        });
        lists.into_iter().map(|(_, path)| path.as_str())
    }
}

/// A key of an object, as a scan comes upon it.
#[derive(Debug, Clone)]
pub(super) struct Beside {
    pub(super) path: String,
    pub(super) mark: Option<Mark>,
    /// What is below is about the list too.
    pub(super) is_about_pages: bool,
}

impl Beside {
    /// Beside the list itself, or beside an object that it is in.
    pub(super) fn the_list(path: &str, key: &str) -> Self {
        let is_about_pages = is_about_pages(key);
        Self { path: joined(path, key), mark: Mark::of(key), is_about_pages }
    }

    /// What the list was looked for in.
    pub(super) fn above(path: &str) -> Self {
        Self { path: path.to_owned(), mark: Mark::of(path), is_about_pages: false }
    }

    pub(super) fn below(&self, key: &str) -> Self {
        let inherited = self.mark.filter(|mark| *mark == Mark::Other);
        let own = if self.is_about_pages { Mark::of(key) } else { None };
        Self { path: joined(&self.path, key), mark: inherited.or(own), is_about_pages: self.is_about_pages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_that_there_are_more_pages_or_is_innocent() {
        let set = |path: &str| {
            format!("this is one page of several (\"{path}\" is set): fetch all of them, as one list")
        };
        for (key, value, listed, expected) in [
            ("next", Scalar::Set, 50, Err(set("next"))),
            ("next", Scalar::Number(2), 50, Err(set("next"))),
            ("next", Scalar::Unset, 50, Ok(())),
            ("@odata.nextLink", Scalar::Set, 50, Err(set(r#"\"@odata.nextLink\""#))),
            ("hasMore", Scalar::Set, 50, Err(set("hasMore"))),
            ("total_pages", Scalar::Number(1), 50, Ok(())),
            ("total_pages", Scalar::Number(2), 50, Err(one_of_several("total_pages", "is 2"))),
            ("pages", Scalar::Set, 50, Ok(())),
            ("count", Scalar::Number(50), 50, Ok(())),
            ("count", Scalar::Number(3), 50, Ok(())),
            ("count", Scalar::Set, 50, Ok(())),
            ("count", Scalar::Number(51), 50, Err(one_of_several("count", "is 51, and the list has 50"))),
            ("counts", Scalar::Number(51), 50, Ok(())),
            ("offset", Scalar::Unset, 50, Ok(())),
            ("offset", Scalar::Number(50), 3, Err(one_of_several("offset", "is 50"))),
            ("startAt", Scalar::Number(50), 3, Err(one_of_several("startAt", "is 50"))),
        ] {
            let Beside { path, mark, .. } = Beside::the_list("", key);
            let mut pages = Pages::default();
            let noted = mark.map_or(Ok(()), |mark| pages.note(mark, &path, value));
            assert_eq!(noted.and_then(|()| pages.check(listed)), expected, "{key} {value:?}");
        }
    }

    #[test]
    fn marks_are_looked_for_where_they_are_about_the_list() {
        let mark = |keys: &[&str]| {
            let (first, rest) = keys.split_first().unwrap();
            rest.iter().fold(Beside::the_list("", first), |beside, key| beside.below(key)).mark
        };
        for (keys, expected) in [
            (&["meta", "pagination", "next_page"][..], Some(Mark::Other)),
            (&["links", "pages", "next"], Some(Mark::Other)),
            (&["_links", "next", "href"], Some(Mark::Other)),
            (&["meta", "total"], Some(Mark::Rows)),
            (&["filters", "next"], None),
            (&["racks", "count"], None),
            (&["count", "of", "total"], None),
        ] {
            assert_eq!(mark(keys), expected, "{keys:?}");
        }
    }

    #[test]
    fn the_lists_that_may_have_been_meant_come_first() {
        let mut lists = Lists::default();
        for (path, rows) in
            [("a", Rows::None), ("b", Rows::Keyed(1)), ("c", Rows::Listed), ("", Rows::Keyed(2))]
        {
            lists.note(path, rows);
        }
        assert_eq!(lists.paths().collect::<Vec<_>>(), ["c", ".", "b", "a"]);
    }
}
