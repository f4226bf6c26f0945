//! VM ids as they are typed, or listed in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::{InvalidPattern, SelectionError};
use super::glob::exclusion;
use super::ids::Ids;
use crate::dialect::Dialect;
use crate::inventory::encoding::marked;
use crate::inventory::source::{Hashed, Line};

/// A `--vmid [!]SPEC`: what VMs are called, of whichever dialect, or a file of that.
#[derive(Debug, Clone)]
pub struct VmidPattern {
    pub(super) excludes: bool,
    pub(super) spec: Spec,
}

#[derive(Debug, Clone)]
pub(super) enum Spec {
    Listed(Vec<Ids>),
    File(PathBuf),
}

impl FromStr for VmidPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (excludes, spec) = exclusion(text);
        let spec = match spec.strip_prefix('@') {
            Some("") => return Err(InvalidPattern::NoFile),
            Some(file) => Spec::File(file.into()),
            None => Spec::Listed(ids(spec)?),
        };
        Ok(Self { excludes, spec })
    }
}

impl VmidPattern {
    /// The file of `@FILE`.
    pub fn file(&self) -> Option<&Path> {
        match &self.spec {
            Spec::File(file) => Some(file),
            Spec::Listed(_) => None,
        }
    }
}

/// What a list with commas names.
fn ids(commas: &str) -> Result<Vec<Ids>, InvalidPattern> {
    commas.split(',').map(str::parse).collect()
}

/// One list a line; `#` starts a comment. Returns the SHA-256 of the file too.
pub(super) fn ids_of_file(
    file: &Path,
    dialect: Option<Dialect>,
) -> Result<(Vec<Ids>, String), SelectionError> {
    let unreadable = |source| SelectionError::Unreadable { file: file.into(), source };
    let mut bytes = Hashed::new(File::open(file).map_err(unreadable)?);
    let mut lines = marked(&mut bytes).map_err(unreadable)?;
    let (mut all, mut line) = (Vec::new(), Vec::new());
    for number in 1.. {
        let ids = match lines.read_line(&mut line).map_err(unreadable)? {
            Line::Whole => ids_of_line(&line, dialect),
            Line::Oversized => Err(InvalidPattern::LongLine),
            Line::End => break,
        };
        let invalid = |reason| SelectionError::Invalid { file: file.into(), line: number, reason };
        all.extend(ids.map_err(invalid)?);
    }
    drop(lines);
    Ok((all, bytes.finish().map_err(unreadable)?))
}

/// What is no text may stand in a comment; an id has none of it.
fn ids_of_line(line: &[u8], dialect: Option<Dialect>) -> Result<Vec<Ids>, InvalidPattern> {
    let line = String::from_utf8_lossy(line);
    let list = line.split('#').next().unwrap_or_default().trim_start_matches('\u{feff}').trim();
    match list.is_empty() {
        true => Ok(Vec::new()),
        false => of_dialect(ids(list)?, dialect),
    }
}

/// The same ids, if all are of that dialect, where there is one.
pub(super) fn of_dialect(ids: Vec<Ids>, dialect: Option<Dialect>) -> Result<Vec<Ids>, InvalidPattern> {
    dialect.map_or(Ok(()), |dialect| ids.iter().try_for_each(|ids| ids.checked(dialect)))?;
    Ok(ids)
}
