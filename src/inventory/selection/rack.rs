//! Racks by pattern.

use std::fmt;
use std::str::FromStr;

use globset::GlobMatcher;

use super::error::InvalidPattern;
use super::glob::{exclusion, glob};

/// A `--rack [!]GLOB`.
#[derive(Debug, Clone)]
pub struct RackPattern {
    pub(super) excludes: bool,
    glob: GlobMatcher,
}

impl RackPattern {
    pub(in crate::inventory) fn matches(&self, rack: Option<&str>) -> bool {
        rack.is_some_and(|rack| self.glob.is_match(rack))
    }
}

impl fmt::Display for RackPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.excludes { "!" } else { "" }, self.glob.glob())
    }
}

impl FromStr for RackPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match exclusion(text) {
            (_, "") => Err(InvalidPattern::NoRack),
            (excludes, pattern) => Ok(Self { excludes, glob: glob(pattern)? }),
        }
    }
}
