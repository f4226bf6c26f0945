//! VM ids of either dialect: in ranges, one by one or by a pattern; and sets of them, to look VMs up in.

use std::fmt;
use std::str::FromStr;

use globset::GlobMatcher;

use super::error::InvalidPattern;
use super::glob::glob;
use crate::dialect::{Dialect, VPS};
use crate::vm::VmId;

/// The first and the last VM id of a range, by their numbers.
pub(in crate::inventory) type Range = (u128, u128);

/// Ids of one dialect: v1's in a range, v2's one by one or by a pattern.
#[derive(Debug, Clone)]
pub(in crate::inventory) enum Ids {
    Range(Dialect, Range),
    Glob(GlobMatcher),
}

impl Ids {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Range(dialect, _) => *dialect,
            Self::Glob(_) => Dialect::V2,
        }
    }

    /// Those of one dialect.
    pub(in crate::inventory) fn range(&self, dialect: Dialect) -> Option<Range> {
        match self {
            Self::Range(own, range) if *own == dialect => Some(*range),
            Self::Range(..) | Self::Glob(_) => None,
        }
    }

    pub(in crate::inventory) fn glob(&self) -> Option<&GlobMatcher> {
        match self {
            Self::Glob(glob) => Some(glob),
            Self::Range(..) => None,
        }
    }

    /// Whether a VM of `dialect` may be meant.
    pub(super) fn checked(&self, dialect: Dialect) -> Result<(), InvalidPattern> {
        let other = self.dialect();
        let refusal = || InvalidPattern::OtherDialect { text: self.to_string(), dialect, other };
        if other == dialect { Ok(()) } else { Err(refusal()) }
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(dialect, (first, last)) if first == last => dialect.written(*first).fmt(f),
            Self::Range(dialect, (first, last)) => {
                write!(f, "{}-{}", dialect.written(*first), dialect.written(*last))
            }
            Self::Glob(glob) => glob.glob().fmt(f),
        }
    }
}

impl FromStr for Ids {
    type Err = InvalidPattern;

    fn from_str(part: &str) -> Result<Self, Self::Err> {
        let part = part.trim();
        match Dialect::of(part) {
            Some((dialect, number)) => Ok(Self::Range(dialect, (number, number))),
            None if part.starts_with(VPS) && part.contains(WILD) => glob(part).map(Self::Glob),
            None => Ok(Self::Range(Dialect::V1, range(part)?)),
        }
    }
}

/// What a pattern of ids has, and no id.
const WILD: [char; 3] = ['*', '?', '['];

/// An id of v1, or two with a hyphen between.
fn range(part: &str) -> Result<Range, InvalidPattern> {
    let id = |text: &str| Dialect::V1.number(text.trim()).map_err(|_| InvalidPattern::NoVmId(part.into()));
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (id(first)?, id(last)?) {
        (first, last) if first > last => Err(InvalidPattern::Backwards(part.into())),
        range => Ok(range),
    }
}

/// Ids as ranges, sorted and apart.
#[derive(Debug, Clone, Default)]
struct Ranges(Vec<Range>);

impl Ranges {
    fn new(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut apart: Vec<Range> = Vec::new();
        for (first, last) in ranges {
            match apart.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => apart.push((first, last)),
            }
        }
        Self(apart)
    }

    fn contains(&self, id: u128) -> bool {
        let behind = self.0.partition_point(|&(first, _)| first <= id);
        behind > 0 && id <= self.0[behind - 1].1
    }
}

/// Ids of either dialect, to look VMs up in.
#[derive(Debug, Clone, Default)]
pub(super) struct IdSet {
    /// By dialect, in its order.
    ranges: [Ranges; Dialect::EACH.len()],
    globs: Vec<GlobMatcher>,
}

impl IdSet {
    pub(super) fn new(ids: &[Ids]) -> Self {
        let ranges = |dialect| Ranges::new(ids.iter().filter_map(|ids| ids.range(dialect)).collect());
        Self { ranges: Dialect::EACH.map(ranges), globs: ids.iter().filter_map(Ids::glob).cloned().collect() }
    }

    pub(super) fn contains(&self, id: &VmId) -> bool {
        Dialect::of(id.as_str())
            .is_some_and(|(dialect, number)| self.ranges[dialect as usize].contains(number))
            || self.globs.iter().any(|glob| glob.is_match(id.as_str()))
    }
}
