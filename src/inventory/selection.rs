//! Which VMs of the fleet a run is for: `--rack`, `--vmid` and `--where`.
//!
//! Values of one flag, or of one label, are alternatives; different flags and labels narrow each other, and an exclusion
//! (a leading `!`) always wins. Says nothing of how many, or of what failed last time.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use serde_json::Value;

use super::columns::Column;
use super::file::{InventoryFile, identity};
use super::json::text;
use super::source::Hashed;
use super::vm::Vm;
use crate::allocation::{NextHop, Prefix};
use crate::dialect::{Dialect, VPS};
use crate::text::{escape_path, spelled_out};
use crate::vm::{Action, VmId};

/// Why a text selects nothing that could be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("is empty: name a rack, or a pattern such as dc1r*")]
    NoRack,
    #[error("not a pattern (* any text, ? one character, [ab] one of them, {{x,y}} either): {0}")]
    Glob(String),
    #[error("not LABEL=PATTERN, such as role=db* (labels are the inventory's own columns)")]
    NoLabel,
    #[error(
        "an empty pattern matches nothing: {label}=* is every VM that has a {label}, !{label}=* every one without"
    )]
    NoPattern { label: String },
    #[error(
        "\"{}\" is no VM id and no range of them, such as 10000,10010-10020 (or @FILE, with one or more a line)",
        spelled_out(.0)
    )]
    NoVmId(String),
    #[error("\"{}\" is what VMs are called with --api {other}, and this is {dialect}", spelled_out(text))]
    OtherDialect { text: String, dialect: Dialect, other: Dialect },
    #[error("the range {0} runs backwards")]
    Backwards(String),
    #[error("@ needs the name of a file, such as @failed.txt")]
    NoFile,
}

/// Why a selection cannot be made: what a `--vmid` names, or its file.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    #[error("--vmid: {0}")]
    Typed(InvalidPattern),
    #[error("{}: {source}", escape_path(.file))]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}:{line}: {reason}", escape_path(.file))]
    Invalid { file: PathBuf, line: usize, reason: InvalidPattern },
}

/// Splits off a leading `!`.
fn exclusion(text: &str) -> (bool, &str) {
    text.strip_prefix('!').map_or((false, text), |rest| (true, rest))
}

/// Case counts, and `*` matches any text, a `/` too.
fn glob(text: &str) -> Result<GlobMatcher, InvalidPattern> {
    let glob = Glob::new(text).map_err(|error| InvalidPattern::Glob(error.kind().to_string()))?;
    Ok(glob.compile_matcher())
}

/// A `--rack [!]GLOB`.
#[derive(Debug, Clone)]
pub struct RackPattern {
    excludes: bool,
    glob: GlobMatcher,
}

impl RackPattern {
    pub(super) fn matches(&self, rack: Option<&str>) -> bool {
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

/// A `--vmid [!]SPEC`: what VMs are called, of whichever dialect, or a file of that.
#[derive(Debug, Clone)]
pub struct VmidPattern {
    excludes: bool,
    spec: Spec,
}

#[derive(Debug, Clone)]
enum Spec {
    Listed(Vec<Ids>),
    File(PathBuf),
}

/// The first and the last VM id of a range, by their numbers.
pub(super) type Range = (u128, u128);

/// Ids of one dialect: v1's in a range, v2's one by one or by a pattern.
#[derive(Debug, Clone)]
pub(super) enum Ids {
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
    pub(super) fn range(&self, dialect: Dialect) -> Option<Range> {
        match self {
            Self::Range(own, range) if *own == dialect => Some(*range),
            Self::Range(..) | Self::Glob(_) => None,
        }
    }

    pub(super) fn glob(&self) -> Option<&GlobMatcher> {
        match self {
            Self::Glob(glob) => Some(glob),
            Self::Range(..) => None,
        }
    }

    /// Whether a VM of `dialect` may be meant.
    fn checked(&self, dialect: Dialect) -> Result<(), InvalidPattern> {
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

/// An id of v1, or two with a hyphen between.
fn range(part: &str) -> Result<Range, InvalidPattern> {
    let id = |text: &str| Dialect::V1.number(text.trim()).map_err(|_| InvalidPattern::NoVmId(part.into()));
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (id(first)?, id(last)?) {
        (first, last) if first > last => Err(InvalidPattern::Backwards(part.into())),
        range => Ok(range),
    }
}

/// One list a line; `#` starts a comment. Returns the SHA-256 of the file too.
fn ids_of_file(file: &Path, dialect: Option<Dialect>) -> Result<(Vec<Ids>, String), SelectionError> {
    let unreadable = |source| SelectionError::Unreadable { file: file.into(), source };
    let mut all = Vec::new();
    let mut bytes = Hashed::new(File::open(file).map_err(unreadable)?);
    for (index, line) in BufReader::new(&mut bytes).lines().enumerate() {
        let line = line.map_err(unreadable)?;
        let list = line.split('#').next().unwrap_or_default().trim_start_matches('\u{feff}').trim();
        if !list.is_empty() {
            let invalid = |reason| SelectionError::Invalid { file: file.into(), line: index + 1, reason };
            all.extend(ids(list).and_then(|ids| of_dialect(ids, dialect)).map_err(invalid)?);
        }
    }
    Ok((all, bytes.finish().map_err(unreadable)?))
}

/// The same ids, if all are of that dialect, where there is one.
fn of_dialect(ids: Vec<Ids>, dialect: Option<Dialect>) -> Result<Vec<Ids>, InvalidPattern> {
    dialect.map_or(Ok(()), |dialect| ids.iter().try_for_each(|ids| ids.checked(dialect)))?;
    Ok(ids)
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
struct IdSet {
    /// By dialect, in its order.
    ranges: [Ranges; Dialect::EACH.len()],
    globs: Vec<GlobMatcher>,
}

impl IdSet {
    fn new(ids: &[Ids]) -> Self {
        let ranges = |dialect| Ranges::new(ids.iter().filter_map(|ids| ids.range(dialect)).collect());
        Self { ranges: Dialect::EACH.map(ranges), globs: ids.iter().filter_map(Ids::glob).cloned().collect() }
    }

    fn contains(&self, id: &VmId) -> bool {
        Dialect::of(id.as_str())
            .is_some_and(|(dialect, number)| self.ranges[dialect as usize].contains(number))
            || self.globs.iter().any(|glob| glob.is_match(id.as_str()))
    }
}

/// A `--where [!]LABEL=GLOB`. A known column's name stands for that column, else it is a label, or a path into the
/// nested objects of one.
#[derive(Debug, Clone)]
pub struct WherePattern {
    excludes: bool,
    subject: Subject,
    glob: GlobMatcher,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Column(Column),
    Label { name: String, path: Option<super::Path> },
}

impl FromStr for WherePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (excludes, condition) = exclusion(text);
        let (label, pattern) = split(condition).ok_or(InvalidPattern::NoLabel)?;
        match (label, pattern) {
            ("", _) => Err(InvalidPattern::NoLabel),
            (_, "") => Err(InvalidPattern::NoPattern { label: label.into() }),
            _ => Ok(Self { excludes, subject: Subject::named(label), glob: glob(pattern)? }),
        }
    }
}

impl fmt::Display for WherePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match &self.subject {
            Subject::Column(column) => column.as_str(),
            Subject::Label { name, .. } => name,
        };
        write!(f, "{}{subject}={}", if self.excludes { "!" } else { "" }, self.glob.glob())
    }
}

/// At the first `=`, but for one in the quotation marks of a path.
fn split(condition: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let equals = condition.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '=' && !quoted
    });
    match equals {
        Some((at, _)) => Some((&condition[..at], &condition[at + 1..])),
        None => condition.split_once('='),
    }
}

impl Subject {
    fn named(name: &str) -> Self {
        let label = || Self::Label { name: name.into(), path: name.parse().ok() };
        Column::named(name).map_or_else(label, Self::Column)
    }

    fn of<'v>(&self, vm: &'v Vm, rack: Option<&'v str>) -> Option<Cow<'v, str>> {
        match self {
            Self::Column(column) => Self::known(*column, vm, rack).map(Cow::Borrowed),
            Self::Label { name, path } => match vm.label(name) {
                Some(text) => Some(Cow::Borrowed(text)),
                None => nested(path.as_ref()?, vm).map(Cow::Owned),
            },
        }
    }

    fn known<'v>(column: Column, vm: &'v Vm, rack: Option<&'v str>) -> Option<&'v str> {
        let expected = &vm.expected;
        match column {
            Column::Vmid => Some(vm.id.as_str()),
            Column::Name => vm.name.as_deref(),
            Column::RackId => rack,
            Column::Action => vm.action.map(Action::as_str),
            Column::Prefix => expected.prefix.as_ref().map(Prefix::as_str),
            Column::NextHop => expected.next_hop.as_ref().map(NextHop::as_str),
            Column::ProxmoxVmId => expected.proxmox_vm_id.as_deref(),
            Column::ClientId => expected.client_id.as_deref(),
            Column::AccountId => expected.account_id.as_deref(),
        }
    }
}

/// What is in the nested objects of a label, which are kept as JSON.
fn nested(path: &super::Path, vm: &Vm) -> Option<String> {
    let [first, _, ..] = path.keys() else { return None };
    let object: Value = serde_json::from_str(vm.label(first)?).ok()?;
    let text = text(path.find(|_| Some(&object))?);
    (!text.is_empty()).then_some(text)
}

impl WherePattern {
    pub(super) fn excludes(&self) -> bool {
        self.excludes
    }

    /// The label that it names; `None` for a known column.
    pub(super) fn label(&self) -> Option<&str> {
        match &self.subject {
            Subject::Label { name, .. } => Some(name),
            Subject::Column(_) => None,
        }
    }

    /// Whether the VM has what it names.
    pub(super) fn concerns(&self, vm: &Vm) -> bool {
        self.subject.of(vm, None).is_some()
    }

    pub(super) fn matches(&self, vm: &Vm, rack: Option<&str>) -> bool {
        self.subject.of(vm, rack).is_some_and(|text| self.glob.is_match(text.as_ref()))
    }
}

/// All that was typed to select VMs; nothing typed selects every one.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    racks: Vec<RackPattern>,
    /// `None` where no `--vmid` includes anything: all ids are.
    ids: Option<IdSet>,
    excluded_ids: IdSet,
    wheres: Vec<WherePattern>,
    /// All ids as typed, those to exclude too.
    typed_ids: Vec<Ids>,
    files: Vec<InventoryFile>,
}

impl Selection {
    /// Reads the files of `--vmid @FILE`. All ids must be of `dialect`, where there is one.
    pub fn new(
        racks: Vec<RackPattern>,
        vmids: Vec<VmidPattern>,
        wheres: Vec<WherePattern>,
        dialect: Option<Dialect>,
    ) -> Result<Self, SelectionError> {
        let (mut included, mut excluded) = (None::<Vec<Ids>>, Vec::new());
        let (mut typed_ids, mut files) = (Vec::new(), Vec::new());
        for VmidPattern { excludes, spec } in vmids {
            let ids = match spec {
                Spec::Listed(ids) => of_dialect(ids, dialect).map_err(SelectionError::Typed)?,
                Spec::File(file) => {
                    let (ids, sha256) = ids_of_file(&file, dialect)?;
                    files.push(InventoryFile { path: identity(&file), sha256 });
                    ids
                }
            };
            typed_ids.extend_from_slice(&ids);
            match excludes {
                true => excluded.extend(ids),
                false => included.get_or_insert_default().extend(ids),
            }
        }
        let (ids, excluded_ids) = (included.as_deref().map(IdSet::new), IdSet::new(&excluded));
        Ok(Self { racks, ids, excluded_ids, wheres, typed_ids, files })
    }

    /// The files of `--vmid @FILE`, by [`identity`], with what was read from them.
    pub fn files(&self) -> &[InventoryFile] {
        &self.files
    }

    pub(super) fn racks(&self) -> &[RackPattern] {
        &self.racks
    }

    pub(super) fn wheres(&self) -> &[WherePattern] {
        &self.wheres
    }

    pub(super) fn typed_ids(&self) -> &[Ids] {
        &self.typed_ids
    }

    /// Whether a VM is selected. `rack` is the inventory's or, where it has none, the one last seen for the VM.
    ///
    /// What a VM lacks, a rack or a label, no pattern matches: `*` neither.
    pub fn matches(&self, vm: &Vm, rack: Option<&str>) -> bool {
        let by_rack = self.racks.iter().map(|pattern| ((), pattern.excludes, pattern.matches(rack)));
        let by_label =
            self.wheres.iter().map(|pattern| (&pattern.subject, pattern.excludes, pattern.matches(vm, rack)));
        self.ids.as_ref().is_none_or(|ids| ids.contains(&vm.id))
            && !self.excluded_ids.contains(&vm.id)
            && passes(&by_rack)
            && passes(&by_label)
    }

    /// Whether racks were typed as such.
    pub fn names_racks(&self) -> bool {
        !self.racks.is_empty()
    }

    /// Whether it makes a difference in which rack a VM is.
    pub fn asks_for_rack(&self) -> bool {
        let is_rack = |pattern: &WherePattern| matches!(pattern.subject, Subject::Column(Column::RackId));
        self.names_racks() || self.wheres.iter().any(is_rack)
    }
}

/// One flag's verdict over its patterns, each (subject, excludes, matches): none that excludes may match, and of those
/// that include, one of each subject must.
fn passes<S: PartialEq>(patterns: &(impl Iterator<Item = (S, bool, bool)> + Clone)) -> bool {
    let included = |subject: &S| {
        patterns.clone().any(|(other, excludes, matches)| other == *subject && !excludes && matches)
    };
    patterns.clone().all(|(subject, excludes, matches)| if excludes { !matches } else { included(&subject) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::allocation::Expected;

    type Texts = &'static [&'static str];

    fn selection(racks: &[&str], vmids: &[&str], wheres: &[&str]) -> Selection {
        Selection::new(
            racks.iter().map(|text| text.parse().unwrap()).collect(),
            vmids.iter().map(|text| text.parse().unwrap()).collect(),
            wheres.iter().map(|text| text.parse().unwrap()).collect(),
            None,
        )
        .unwrap()
    }

    fn vm(id: &str, labels: &[(&str, &str)]) -> Vm {
        let expected = Expected { client_id: Some("30000".into()), ..Expected::default() };
        let labels = labels.iter().map(|&(name, text)| (name.into(), text.into())).collect();
        let action = Some(Action::Allocate);
        Vm { id: id.parse().unwrap(), name: Some(format!("web-{id}")), action, expected, labels }
    }

    #[test]
    fn racks_are_matched_by_glob_and_exclusions_win() {
        let cases: [(Texts, Texts, &[Option<&str>]); 6] = [
            (&[], &["dc1r28", "dc2r01"], &[None]),
            (&["dc1r28"], &["dc1r28"], &[Some("dc1r280"), Some("DC1R28"), None]),
            (&["dc1*", "dc2r0?"], &["dc1r28", "dc1/x", "dc2r01"], &[Some("dc2r10"), None]),
            (&["!dc1*"], &["dc2r01"], &[Some("dc1r28")]),
            (&["dc1*", "!dc1r28"], &["dc1r27"], &[Some("dc1r28"), Some("dc2r01"), None]),
            (&["{dc1,dc2}r0[12]"], &["dc1r01", "dc2r02"], &[Some("dc3r01"), Some("dc1r03")]),
        ];
        for (patterns, selected, left) in cases {
            let selection = selection(patterns, &[], &[]);
            for rack in selected {
                assert!(selection.matches(&vm("1", &[]), Some(rack)), "{patterns:?} {rack}");
            }
            for rack in left {
                // Without a pattern that includes, VMs of unknown rack are in.
                assert_eq!(
                    selection.matches(&vm("1", &[]), *rack),
                    patterns.is_empty(),
                    "{patterns:?} {rack:?}"
                );
            }
        }
        assert!(selection(&["!dc1*"], &[], &[]).matches(&vm("1", &[]), None));
    }

    #[test]
    fn only_what_names_racks_asks_for_them() {
        assert!(selection(&["dc1*"], &[], &[]).asks_for_rack());
        assert!(selection(&[], &[], &["role=db", "!rack=dc1*"]).asks_for_rack());
        assert!(!selection(&[], &["10000"], &["role=db", "name=web*"]).asks_for_rack());
    }

    #[test]
    fn ids_are_matched_as_numbers_in_ranges() {
        let cases: [(Texts, Texts, Texts); 5] = [
            (
                &["10000,10010-10020"],
                &["10000", "10010", "10015", "10020"],
                &["9999", "10001", "10021", "100000"],
            ),
            (&["1-9223372036854775807"], &["1", "9223372036854775807"], &[]),
            (&["5-9", " 1 - 6 , 12", "10"], &["1", "6", "9", "10", "12"], &["11", "13"]),
            (&["!7"], &["6", "8"], &["7"]),
            (&["1-10", "!5,7-8"], &["4", "6", "9"], &["5", "7", "8", "11"]),
        ];
        for (specs, selected, left) in cases {
            let selection = selection(&[], specs, &[]);
            for id in selected {
                assert!(selection.matches(&vm(id, &[]), None), "{specs:?} {id}");
            }
            for id in left {
                assert!(!selection.matches(&vm(id, &[]), None), "{specs:?} {id}");
            }
        }
    }

    #[test]
    fn ids_of_v2_are_matched_as_they_are_or_by_glob() {
        let (one, other) = ("vps_01hxa3b4c5d6e7f8g9h0j1k2m3", "vps_01hxa3b4c5d6e7f8g9h0j1k2m4");
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&[one], &[one], &[other, "10000", &one[..29]]),
            (&[&format!(" {other} , {one}")], &[one, other], &[]),
            (&["vps_01hxa3*"], &[one, other], &["vps_01hxa4b4c5d6e7f8g9h0j1k2m3", "10000"]),
            (&["vps_*[4-9]", "10000-10001"], &[other, "10001"], &[one, "10002"]),
            (&["vps_*", &format!("!{one}")], &[other], &[one, "1"]),
            (&["!vps_*m3"], &[other, "1"], &[one]),
        ];
        for (specs, selected, left) in cases {
            let selection = selection(&[], specs, &[]);
            for (ids, is_selected) in [(selected, true), (left, false)] {
                for id in ids {
                    assert_eq!(selection.matches(&vm(id, &[]), None), is_selected, "{specs:?} {id}");
                }
            }
        }
    }

    #[test]
    fn ids_of_the_other_dialect_are_refused_with_the_option_that_takes_them() {
        let vps = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "10000\n{vps}").unwrap();
        let (name, listed) = (file.path().display(), format!("@{}", file.path().display()));
        for (spec, dialect, error) in [
            (
                "1,10000-10001",
                Dialect::V2,
                "--vmid: \"1\" is what VMs are called with --api v1, and this is v2".into(),
            ),
            (
                vps,
                Dialect::V1,
                format!("--vmid: \"{vps}\" is what VMs are called with --api v2, and this is v1"),
            ),
            (
                "!vps_*",
                Dialect::V1,
                "--vmid: \"vps_*\" is what VMs are called with --api v2, and this is v1".into(),
            ),
            (
                &listed,
                Dialect::V1,
                format!("{name}:2: \"{vps}\" is what VMs are called with --api v2, and this is v1"),
            ),
            (
                &listed,
                Dialect::V2,
                format!("{name}:1: \"10000\" is what VMs are called with --api v1, and this is v2"),
            ),
        ] {
            let refused = Selection::new(vec![], vec![spec.parse().unwrap()], vec![], Some(dialect));
            assert_eq!(refused.unwrap_err().to_string(), error, "{spec}");
        }
        for (spec, dialect) in [("1-5", Dialect::V1), (vps, Dialect::V2), ("vps_0*", Dialect::V2)] {
            assert!(
                Selection::new(vec![], vec![spec.parse().unwrap()], vec![], Some(dialect)).is_ok(),
                "{spec}"
            );
        }
    }

    #[test]
    fn ids_may_come_from_a_file_with_comments() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\u{feff}10000\r\n# failed last night\n\n10010-10012, 10014 # db\n".as_bytes())
            .unwrap();
        let spec = format!("@{}", file.path().display());
        let included = selection(&[], &[&spec], &[]);
        let excluded = selection(&[], &[&format!("!{spec}")], &[]);
        for (id, listed) in [("10000", true), ("10011", true), ("10013", false), ("10014", true)] {
            assert_eq!(included.matches(&vm(id, &[]), None), listed, "{id}");
            assert_eq!(excluded.matches(&vm(id, &[]), None), !listed, "{id}");
        }
    }

    #[test]
    fn an_empty_file_of_ids_selects_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let selection = selection(&[], &[&format!("@{}", file.path().display())], &[]);
        assert!(!selection.matches(&vm("1", &[]), None));
    }

    #[test]
    fn a_bad_file_of_ids_is_named_with_its_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"1\n!2\n").unwrap();
        let pattern = format!("@{}", file.path().display()).parse().unwrap();
        let error = Selection::new(vec![], vec![pattern], vec![], None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:2: \"!2\" is no VM id", file.path().display())), "{error}");
        let absent = Selection::new(vec![], vec!["@no/such/file".parse().unwrap()], vec![], None);
        assert!(absent.unwrap_err().to_string().starts_with("no/such/file: "));
    }

    #[test]
    fn where_matches_labels_and_known_columns() {
        let vm = vm("10000", &[("role", "db-primary"), ("site", "a=b")]);
        for (condition, selected) in [
            ("role=db*", true),
            ("role=db", false),
            ("!role=db*", false),
            ("!role=web", true),
            ("site=a=b", true),
            ("owner=*", false),
            ("!owner=*", true),
            ("name=web-*", true),
            ("hostname=web-10000", true),
            ("vmid=1000?", true),
            ("action=allocate", true),
            ("rack_id=dc1r28", true),
            ("rack=dc2*", false),
            ("client_id=30000", true),
            ("prefix=*", false),
        ] {
            assert_eq!(
                selection(&[], &[], &[condition]).matches(&vm, Some("dc1r28")),
                selected,
                "{condition}"
            );
        }
    }

    #[test]
    fn where_reaches_into_nested_objects() {
        let status = r#"{"value":"active","a.b":1,"none":null,"tags":["x"]}"#;
        let vm = vm("10000", &[("status", status), ("site.name", "north"), ("site", r#"{"name":"south"}"#)]);
        for (condition, selected) in [
            ("status.value=act*", true),
            ("status.value=planned", false),
            ("!status.value=*", false),
            ("status.\"a.b\"=1", true),
            ("status.none=*", false),
            ("status.tags=[[]\"x\"]", true),
            ("status.value.more=*", false),
            ("state.value=*", false),
            ("site.name=north", true),
            ("a.\"b=c\"=*", false),
        ] {
            assert_eq!(selection(&[], &[], &[condition]).matches(&vm, None), selected, "{condition}");
        }
        assert_eq!(split("a.\"b=c\"=d=e"), Some(("a.\"b=c\"", "d=e")));
        assert_eq!(split("5\"=x"), Some(("5\"", "x")));
    }

    #[test]
    fn values_of_one_flag_are_alternatives_and_flags_narrow_each_other() {
        let vm = vm("10000", &[("role", "db")]);
        let of = |racks: &[&str], vmids: &[&str], wheres: &[&str]| {
            selection(racks, vmids, wheres).matches(&vm, Some("dc1r28"))
        };
        assert!(of(&["dc2*", "dc1*"], &["1", "10000"], &["role=web", "role=db"]));
        assert!(!of(&["dc2*"], &["10000"], &["role=db"]));
        assert!(!of(&["dc1*"], &["1"], &["role=db"]));
        assert!(!of(&["dc1*"], &["10000"], &["role=web"]));
        assert!(!of(&["dc1*"], &["10000"], &["role=db", "!role=d*"]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_an_example() {
        for (text, error) in [
            (
                "",
                "\"\" is no VM id and no range of them, such as 10000,10010-10020 (or @FILE, with one or more a line)",
            ),
            ("10000,", "\"\" is no VM id"),
            ("10-", "\"10-\" is no VM id"),
            ("0-5", "\"0-5\" is no VM id"),
            ("1-2-3", "\"1-2-3\" is no VM id"),
            ("web1", "\"web1\" is no VM id"),
            ("vps_../x", "\"vps_../x\" is no VM id"),
            ("vps_", "\"vps_\" is no VM id"),
            ("vps_01hxa3b4c5d6e7f8g9h0j1k2m3-vps_01hxa3b4c5d6e7f8g9h0j1k2m4", "\"vps_01"),
            ("vps_[*", "not a pattern"),
            ("100*", "\"100*\" is no VM id"),
            ("10020-10010", "the range 10020-10010 runs backwards"),
            ("!@", "@ needs the name of a file, such as @failed.txt"),
        ] {
            let refused = text.parse::<VmidPattern>().unwrap_err().to_string();
            assert!(refused.starts_with(error), "{text}: {refused}");
        }
        assert_eq!("!".parse::<RackPattern>().unwrap_err(), InvalidPattern::NoRack);
        let unclosed = "dc[1".parse::<RackPattern>().unwrap_err().to_string();
        assert!(unclosed.starts_with("not a pattern (* any text, ? one character"), "{unclosed}");
        assert_eq!("role".parse::<WherePattern>().unwrap_err(), InvalidPattern::NoLabel);
        assert_eq!("=db".parse::<WherePattern>().unwrap_err(), InvalidPattern::NoLabel);
        assert_eq!(
            "!role=".parse::<WherePattern>().unwrap_err().to_string(),
            "an empty pattern matches nothing: role=* is every VM that has a role, !role=* every one without"
        );
    }
}
