//! What the templates call to put numbers and texts into words: they hand over values and references alike.

use std::borrow::Borrow;

use jiff::Timestamp;

use crate::outcome::Failure;
use crate::report::advice;
use crate::text;

/// Characters of one text from outside.
pub(in crate::report) const TEXT: usize = 200;

pub(in crate::report) fn excerpt(text: &str) -> String {
    text::excerpt(text, TEXT)
}

pub(in crate::report) fn count(n: impl Borrow<u64>) -> String {
    text::count(*n.borrow())
}

pub(in crate::report) fn counted(n: impl Borrow<u64>, one: &str, many: &str) -> String {
    text::counted(*n.borrow(), one, many)
}

pub(in crate::report) fn advice(failure: impl Borrow<Failure>) -> &'static str {
    advice::advice(*failure.borrow())
}

pub(in crate::report) fn moment(at: impl Borrow<Timestamp>) -> String {
    text::moment_for_people(*at.borrow())
}

/// The first of so many VMs; `…` stands for the others.
pub(in crate::report) fn examples(vms: impl Borrow<u64>, first: &[String]) -> String {
    let more = if *vms.borrow() > first.len() as u64 { ", …" } else { "" };
    format!("{}{more}", first.iter().map(|vm| excerpt(vm)).collect::<Vec<_>>().join(", "))
}
