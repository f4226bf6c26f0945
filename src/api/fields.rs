//! The fields of an answer, in whichever dialect: those that decide, without which it is none, and those that are tolerated.
//!
//! What decides is there once and can be read, or the reason why not is told. The rest is taken where it can be read, else
//! unknown, and a warning where it is odd.

use std::fmt::Display;
use std::str::FromStr;

use super::clip::clip;
use super::object::{Object, Raw};
use crate::allocation::{Moment, Prefix};

/// A field that decides: it is there, and once.
pub(super) fn decisive<'a>(object: &Object<'a>, name: &str) -> Result<Raw<'a>, String> {
    match object.get_all(name) {
        (_, true) => Err(format!("{name} is there twice")),
        (value, false) => value.ok_or_else(|| format!("{name} is missing")),
    }
}

/// A field that decides where it says something: it is not there twice, and `None` where it is null or missing.
pub(super) fn optional<'a>(object: &Object<'a>, name: &str) -> Result<Option<Raw<'a>>, String> {
    match object.get_all(name) {
        (_, true) => Err(format!("{name} is there twice")),
        (value, false) => Ok(value.filter(|value| !value.is_null())),
    }
}

pub(super) fn boolean(object: &Object<'_>, name: &str) -> Result<bool, String> {
    read_boolean(name, decisive(object, name)?)
}

pub(super) fn read_boolean(name: &str, value: Raw<'_>) -> Result<bool, String> {
    value.boolean().ok_or_else(|| not(name, value, "true or false"))
}

pub(super) fn object<'a>(parent: &Object<'a>, name: &str) -> Result<Object<'a>, String> {
    let value = decisive(parent, name)?;
    value.object().ok_or_else(|| not(name, value, "an object"))
}

pub(super) fn address<T: FromStr<Err: Display>>(allocation: &Object<'_>, name: &str) -> Result<T, String> {
    read_address(name, decisive(allocation, name)?)
}

pub(super) fn read_address<T: FromStr<Err: Display>>(name: &str, value: Raw<'_>) -> Result<T, String> {
    let text = value.string().ok_or_else(|| not(name, value, "a text"))?;
    text.trim().parse().map_err(|error| format!("{name} {:?} is {error}", clip(&text)))
}

/// The warning where `created` is not what the status says.
pub(super) fn contradiction(created: bool, status: u16) -> Option<String> {
    (created != (status == 201)).then(|| format!("created is {created}, but the status is {status}"))
}

pub(super) fn not(name: &str, value: Raw<'_>, expected: &str) -> String {
    format!("{name} is {}, not {expected}", clip(value.as_str()))
}

/// Whether a field may be null, or not be there at all.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Absence {
    Fine,
    Odd,
}

/// The fields of an object that decide nothing: taken where they can be read, else unknown; and what is odd about them.
pub(super) struct Tolerated<'o, 'a> {
    object: &'o Object<'a>,
    pub(super) warnings: Vec<String>,
}

impl<'o, 'a> Tolerated<'o, 'a> {
    pub(super) fn of(object: &'o Object<'a>) -> Self {
        Self { object, warnings: Vec::new() }
    }

    fn get(&mut self, name: &str, absence: Absence) -> Option<Raw<'a>> {
        let (value, is_twice) = self.object.get_all(name);
        if is_twice {
            self.warnings.push(format!("{name} is there twice"));
        }
        if absence == Absence::Odd && value.is_none_or(Raw::is_null) {
            let how = if value.is_some() { "null" } else { "missing" };
            self.warnings.push(format!("{name} is {how}"));
        }
        value.filter(|value| !value.is_null())
    }

    fn warn(&mut self, name: &str, value: Raw<'_>, expected: &str) {
        self.warnings.push(not(name, value, expected));
    }

    /// Ids are texts in some places and integers in others.
    pub(super) fn id(&mut self, name: &str, absence: Absence) -> Option<String> {
        let value = self.get(name, absence)?;
        let text = text(value);
        if text.is_none() && !is_integer(value) {
            self.warn(name, value, "a text or an integer");
        }
        text.or_else(|| integer(value))
    }

    pub(super) fn word(&mut self, name: &str, absence: Absence) -> Option<String> {
        let value = self.get(name, absence)?;
        let text = text(value);
        if text.is_none() {
            self.warn(name, value, "a text");
        }
        text
    }

    pub(super) fn moment(&mut self, name: &str, absence: Absence) -> Option<Moment> {
        let value = self.get(name, absence)?;
        let text = text(value);
        if text.is_none() {
            self.warn(name, value, if value.string().is_some() { "a time" } else { "a text" });
        }
        text.or_else(|| bare_time(value)).map(Moment::from)
    }

    /// Warns where a field says another length than the prefix does.
    pub(super) fn check_length(&mut self, name: &str, absence: Absence, prefix: &Prefix) {
        let length = prefix.length();
        if let Some(stated) = self.length(name, absence).filter(|&stated| stated != i64::from(length)) {
            self.warnings.push(format!("{name} is {stated}, but the prefix says {length}"));
        }
    }

    fn length(&mut self, name: &str, absence: Absence) -> Option<i64> {
        let value = self.get(name, absence)?;
        if !is_integer(value) {
            self.warn(name, value, "an integer");
        }
        match value.string() {
            Some(text) => integer(Raw::read(text.trim())?)?.parse().ok(),
            None => integer(value)?.parse().ok(),
        }
    }

    /// A moment in an object, or in a text that holds one.
    pub(super) fn moment_within(&mut self, name: &str, inner: &str) -> Option<Moment> {
        let value = self.get(name, Absence::Fine)?;
        let object = value.object();
        if object.is_none() {
            self.warn(name, value, "an object");
        }
        let text = value.string();
        let object = object.or_else(|| Object::read(text.as_deref()?))?;
        let mut within = Tolerated::of(&object);
        let at = within.moment(inner, Absence::Fine);
        self.warnings.extend(within.warnings.iter().map(|warning| format!("{name}.{warning}")));
        at
    }
}

/// A string that says something.
fn text(value: Raw<'_>) -> Option<String> {
    value.string().map(|text| clip(&text)).filter(|text| !text.is_empty())
}

/// A time as a number, or that there is one; 0 and `false` are none, as null is.
fn bare_time(value: Raw<'_>) -> Option<String> {
    let is_zero = |number: &str| number.trim_matches(['-', '0', '.']).is_empty();
    let is_one = value.number().is_some_and(|number| !is_zero(number)) || value.boolean() == Some(true);
    is_one.then(|| clip(value.as_str()))
}

fn is_integer(value: Raw<'_>) -> bool {
    value.number().is_some_and(|number| number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()))
}

/// Beyond 2^53, neighbours are the same number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number, however it is written.
fn integer(value: Raw<'_>) -> Option<String> {
    let number = value.number()?;
    if is_integer(value) {
        return Some(clip(number));
    }
    let number: f64 = number.parse().ok()?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then(|| format!("{number:.0}"))
}
