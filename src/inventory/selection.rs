//! Which VMs of an inventory a run is about. Pure: a VM and its rack in, yes or no out.

use std::ops::RangeInclusive;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};

use super::vm::{Vm, VmId};

/// Several values of one option: any of them admits, unless one that begins with `!` excludes.
#[derive(Debug, Clone)]
struct Pattern<T> {
    exclude: bool,
    what: T,
}

impl<T> Pattern<T> {
    fn parse<E>(text: &str, what: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, E> {
        let (exclude, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        Ok(Self { exclude, what: what(rest)? })
    }
}

/// Without a value that admits, everything is admitted that none excludes.
fn admits<'a, T: 'a>(patterns: impl Iterator<Item = &'a Pattern<T>>, is_match: impl Fn(&T) -> bool) -> bool {
    let (mut any_admits, mut admitted) = (false, false);
    for pattern in patterns {
        match (pattern.exclude, is_match(&pattern.what)) {
            (true, true) => return false,
            (true, false) => {}
            (false, matched) => {
                any_admits = true;
                admitted |= matched;
            }
        }
    }
    admitted || !any_admits
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("not a pattern: {0}")]
    Glob(String),
    #[error("not VM ids: write 10000,10010-10020 or @FILE")]
    Ids,
    #[error("write LABEL=GLOB, such as role=web*")]
    Where,
}

fn glob(text: &str) -> Result<GlobMatcher, InvalidPattern> {
    Glob::new(text).map(|glob| glob.compile_matcher()).map_err(|e| InvalidPattern::Glob(e.kind().to_string()))
}

/// `--rack GLOB`: `*` stands for any text; upper and lower case differ.
#[derive(Debug, Clone)]
pub struct RackPattern(Pattern<GlobMatcher>);

impl FromStr for RackPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Pattern::parse(text, glob).map(Self)
    }
}

/// `--vmid 10000,10010-10020`: ids and ranges of ids, both ends included.
#[derive(Debug, Clone)]
pub struct VmPattern(Pattern<Vec<RangeInclusive<u64>>>);

impl FromStr for VmPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Pattern::parse(text, |text| text.split(',').map(ids).collect()).map(Self)
    }
}

impl VmPattern {
    /// The content of an `@FILE`: ids and ranges, separated by commas or lines; `#` begins a comment.
    pub fn from_file(exclude: bool, content: &str) -> Result<Self, InvalidPattern> {
        let lines = content.lines().map(|line| line.split('#').next().unwrap_or_default());
        let specs = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|spec| !spec.is_empty());
        Ok(Self(Pattern { exclude, what: specs.map(ids).collect::<Result<_, _>>()? }))
    }
}

fn ids(text: &str) -> Result<RangeInclusive<u64>, InvalidPattern> {
    let number = |text: &str| text.trim().parse::<VmId>().ok()?.as_str().parse().ok();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(InvalidPattern::Ids),
    }
}

/// `--where LABEL=GLOB`; `name` stands for the VM's name.
#[derive(Debug, Clone)]
pub struct WherePattern {
    label: String,
    glob: Pattern<GlobMatcher>,
}

impl FromStr for WherePattern {
    type Err = InvalidPattern;

    /// The `!` may stand before the label or before the pattern.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (label, value) = text.split_once('=').ok_or(InvalidPattern::Where)?;
        let (outer, label) = label.strip_prefix('!').map_or((false, label), |label| (true, label));
        if label.is_empty() {
            return Err(InvalidPattern::Where);
        }
        let mut glob = Pattern::parse(value, glob)?;
        glob.exclude |= outer;
        Ok(Self { label: label.to_owned(), glob })
    }
}

/// All selection options together: different ones must all admit a VM.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub racks: Vec<RackPattern>,
    pub vms: Vec<VmPattern>,
    pub wheres: Vec<WherePattern>,
}

impl Selection {
    /// `rack` is the inventory's, else the one last seen; a VM of unknown rack has the empty one.
    pub fn matches(&self, vm: &Vm, rack: Option<&str>) -> bool {
        self.matches_rack(rack) && self.matches_id(&vm.id) && self.matches_labels(vm)
    }

    pub fn is_by_rack(&self) -> bool {
        !self.racks.is_empty()
    }

    fn matches_rack(&self, rack: Option<&str>) -> bool {
        admits(self.racks.iter().map(|pattern| &pattern.0), |glob| glob.is_match(rack.unwrap_or_default()))
    }

    fn matches_id(&self, id: &VmId) -> bool {
        let Ok(number) = id.as_str().parse::<u64>() else { return self.vms.is_empty() };
        admits(self.vms.iter().map(|pattern| &pattern.0), |ranges| {
            ranges.iter().any(|ids| ids.contains(&number))
        })
    }

    /// Each label is an option of its own: `--where role=web --where owner=ops` means both.
    fn matches_labels(&self, vm: &Vm) -> bool {
        self.wheres.iter().all(|pattern| {
            let same_label = self.wheres.iter().filter(|other| other.label == pattern.label);
            admits(same_label.map(|other| &other.glob), |glob| glob.is_match(label(vm, &pattern.label)))
        })
    }
}

fn label<'a>(vm: &'a Vm, label: &str) -> &'a str {
    let named = vm.labels.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_str());
    let name = vm.name.as_deref().filter(|_| label == "name");
    named.or(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::Expected;

    fn vm(id: &str) -> Vm {
        let labels = vec![("role".to_owned(), "web".to_owned()), ("owner".to_owned(), "ops".to_owned())];
        Vm {
            id: id.parse().unwrap(),
            name: Some("web-1".into()),
            action: None,
            expected: Expected::default(),
            labels,
        }
    }

    fn parsed<T: FromStr<Err = InvalidPattern>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn racks_are_selected_by_pattern_and_exclusion_wins() {
        for (patterns, rack, selected) in [
            (vec![], None, true),
            (vec!["dc1*"], Some("dc1r28"), true),
            (vec!["dc1*"], Some("dc2r01"), false),
            (vec!["dc1*"], None, false),
            (vec!["DC1*"], Some("dc1r28"), false),
            (vec!["dc1r27", "dc1r28"], Some("dc1r28"), true),
            (vec!["dc1*", "!dc1r28"], Some("dc1r28"), false),
            (vec!["!dc1r28", "dc1*"], Some("dc1r28"), false),
            (vec!["!dc1r28"], Some("dc1r27"), true),
            (vec!["!dc1r28"], None, true),
        ] {
            let selection = Selection { racks: parsed(&patterns), ..Selection::default() };
            assert_eq!(selection.matches(&vm("1"), rack), selected, "{patterns:?} {rack:?}");
        }
    }

    #[test]
    fn ids_are_selected_one_by_one_in_ranges_or_from_a_file() {
        for (patterns, id, selected) in [
            (vec!["10000,10010-10020"], "10000", true),
            (vec!["10000,10010-10020"], "10020", true),
            (vec!["10000,10010-10020"], "10009", false),
            (vec!["1-9223372036854775807", "!7"], "7", false),
            (vec!["!7"], "8", true),
        ] {
            let selection = Selection { vms: parsed(&patterns), ..Selection::default() };
            assert_eq!(selection.matches(&vm(id), None), selected, "{patterns:?} {id}");
        }
        for text in ["", "a", "1-", "-1", "9-8", "0", "1,,2", "01"] {
            assert!(text.parse::<VmPattern>().is_err(), "{text}");
        }
        let file =
            VmPattern::from_file(false, "# maintenance\n10000\n10010-10020, 7 # and one more\n\n").unwrap();
        let selection = Selection { vms: vec![file], ..Selection::default() };
        let ids = ["7", "8", "10000", "10015"].map(|id| selection.matches(&vm(id), None));
        assert_eq!(ids, [true, false, true, true]);
        let none =
            Selection { vms: vec![VmPattern::from_file(false, "# empty").unwrap()], ..Selection::default() };
        assert!(!none.matches(&vm("1"), None), "an empty file selects nothing");
    }

    #[test]
    fn labels_are_selected_by_name_and_different_ones_must_all_match() {
        for (patterns, selected) in [
            (vec!["role=web"], true),
            (vec!["role=w*"], true),
            (vec!["role=db"], false),
            (vec!["role=db", "role=web"], true),
            (vec!["role=web", "owner=dev"], false),
            (vec!["role=web", "owner=ops"], true),
            (vec!["role=!web"], false),
            (vec!["!role=web"], false),
            (vec!["!role=db"], true),
            (vec!["name=web-*"], true),
            (vec!["tier="], true),
            (vec!["tier=?*"], false),
        ] {
            let selection = Selection { wheres: parsed(&patterns), ..Selection::default() };
            assert_eq!(selection.matches(&vm("1"), None), selected, "{patterns:?}");
        }
        for text in ["role", "=web", "!=web", "role=[a"] {
            assert!(text.parse::<WherePattern>().is_err(), "{text}");
        }
    }
}
