//! Which VMs of the fleet a run is for: `--rack`, `--vmid` and `--where`.
//!
//! Values of one flag, or of one label, are alternatives; different flags and labels narrow each other, and an exclusion
//! (a leading `!`) always wins. Says nothing of how many, or of what failed last time.

mod condition;
mod error;
mod glob;
mod ids;
mod rack;
mod vmid;

use ids::IdSet;
use vmid::{Spec, ids_of_file, of_dialect};

pub use condition::WherePattern;
pub use error::{InvalidPattern, SelectionError};
pub(super) use ids::{Ids, Range};
pub use rack::RackPattern;
pub use vmid::VmidPattern;

use super::file::{InventoryFile, identity};
use super::vm::Vm;
use crate::dialect::Dialect;

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
        let by_label = self
            .wheres
            .iter()
            .map(|pattern| (&pattern.subject, pattern.excludes(), pattern.matches(vm, rack)));
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
        self.names_racks() || self.wheres.iter().any(WherePattern::asks_for_rack)
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
    use crate::vm::Action;

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
    fn a_file_of_ids_may_be_in_any_encoding_that_says_so_and_its_comments_in_any_at_all() {
        let utf_16: Vec<u8> =
            "\u{feff}10000\r\n10010 # åäö\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [&utf_16[..], b"10000\r10010 # \xE5\xE4\xF6"] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            let selection = selection(&[], &[&format!("@{}", file.path().display())], &[]);
            for (id, listed) in [("10000", true), ("10010", true), ("10001", false)] {
                assert_eq!(selection.matches(&vm(id, &[]), None), listed, "{id}");
            }
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
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let pattern = format!("@{}", path.display()).parse().unwrap();
            Selection::new(vec![], vec![pattern], vec![], None).unwrap_err().to_string()
        };
        let long = [&b"1\n"[..], &b"2".repeat(2 * 1024 * 1024)].concat();
        for (bytes, reason) in [
            (&b"1\n!2\n"[..], "\"!2\" is no VM id"),
            (b"1\n2\xE5\n", "\"2\u{fffd}\" is no VM id"),
            (b"1\n2\0\n", "\"2\\0\" is no VM id"),
            (&long, "the line is longer than 1024 KiB"),
        ] {
            let error = refused(bytes);
            assert!(error.starts_with(&format!("{}:2: {reason}", path.display())), "{error}");
        }
        let absent = Selection::new(vec![], vec!["@no/such/file".parse().unwrap()], vec![], None);
        assert!(absent.unwrap_err().to_string().starts_with("--vmid @no/such/file: "));
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
