//! The VM that a person means by its name, of all names that the ledger has. Pure.

use std::collections::BTreeSet;

use crate::text::{count, escape, excerpt, nearest, quoted};
use crate::vm::VmId;

/// VMs that an error names.
const SHOWN: usize = 10;

/// Characters of a name.
const NAME: usize = 60;

/// Why a name means no VM.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unnamed {
    /// The ids of all, and what to type for the first of them.
    #[error("{0}")]
    Several(String),
    #[error("{0}")]
    Nobody(String),
}

/// The VM that has this name; `names` are all that there are, each with the VM's id, and `ledger_args` what names the ledger
/// in a command.
pub(super) fn meant(typed: &str, names: &[(String, VmId)], ledger_args: &str) -> Result<VmId, Unnamed> {
    let ids: BTreeSet<&VmId> = names.iter().filter(|(name, _)| name == typed).map(|(_, id)| id).collect();
    let mut ids = ids.into_iter();
    match (ids.next(), ids.next()) {
        (None, _) => Err(Unnamed::Nobody(nobody(typed, names))),
        (Some(id), None) => Ok(id.clone()),
        (Some(first), Some(second)) => {
            let told = several(typed, &[vec![first, second], ids.collect()].concat());
            Err(Unnamed::Several(told + ledger_args))
        }
    }
}

fn several(typed: &str, ids: &[&VmId]) -> String {
    let named = named(ids.iter().map(ToString::to_string));
    let (typed, vms, first) = (excerpt(typed, NAME), count(ids.len() as u64), quoted(ids[0].as_str()));
    format!("{typed} is the name of {vms} VMs: {named}; ask for one by its id: v6fleet history {first}")
}

fn nobody(typed: &str, names: &[(String, VmId)]) -> String {
    let alike: Vec<_> = alike(typed, names).into_iter().map(|(name, id)| told(name, id)).collect();
    let none =
        format!("VM {} is in no run of the ledger, neither as an id nor as a name", excerpt(typed, NAME));
    match alike.is_empty() {
        true => none,
        false => format!("{none}; names like it: {}", named(alike.into_iter())),
    }
}

/// Those that hold what was typed, or else the one that was most likely meant.
fn alike<'n>(typed: &str, names: &'n [(String, VmId)]) -> Vec<&'n (String, VmId)> {
    let part = typed.to_lowercase();
    let holding: Vec<_> = names.iter().filter(|(name, _)| name.to_lowercase().contains(&part)).collect();
    if !holding.is_empty() {
        return holding;
    }
    let near = nearest(typed, names.iter().map(|(name, _)| name.as_str()));
    names.iter().filter(|(name, _)| Some(name.as_str()) == near).collect()
}

fn told(name: &str, id: &VmId) -> String {
    format!("{} ({})", excerpt(name, NAME), escape(id.as_str()))
}

/// The first few, and how many more.
fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(SHOWN) as u64;
    let shown = all.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {} more", count(more)) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(&str, &str)]) -> Vec<(String, VmId)> {
        pairs.iter().map(|&(name, id)| (name.to_owned(), id.into())).collect()
    }

    #[test]
    fn a_name_means_the_one_vm_that_has_it_and_an_error_lists_what_it_may_be() {
        let all = [("db", "1"), ("web-1", "2"), ("web-2", "3"), ("web-2", "4"), ("Åsa\u{1b}", "5")];
        let all = names(&all);
        assert_eq!(meant("web-1", &all, ""), Ok("2".into()));
        assert_eq!(meant("Åsa\u{1b}", &all, ""), Ok("5".into()));
        let nobody = "is in no run of the ledger, neither as an id nor as a name";
        for (typed, error) in [
            (
                "web-2",
                "web-2 is the name of 2 VMs: 3, 4; ask for one by its id: v6fleet history 3 --sandbox"
                    .to_owned(),
            ),
            ("WEB", format!("VM WEB {nobody}; names like it: web-1 (2), web-2 (3), web-2 (4)")),
            ("wbe-1", format!("VM wbe-1 {nobody}; names like it: web-1 (2)")),
            ("åsa", format!(r"VM åsa {nobody}; names like it: Åsa\u{{1b}} (5)")),
            ("mail\u{1b}", format!(r"VM mail\u{{1b}} {nobody}")),
        ] {
            assert_eq!(meant(typed, &all, " --sandbox").unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn of_very_many_the_first_are_named_and_the_rest_counted() {
        let ids: Vec<String> = (1_000..2_200).map(|id| id.to_string()).collect();
        let all = names(&ids.iter().map(|id| ("web", id.as_str())).collect::<Vec<_>>());
        let error = meant("web", &all, "").unwrap_err().to_string();
        assert!(
            error.contains("1,200 VMs: 1000, 1001, ") && error.contains(", 1009 and 1,190 more;"),
            "{error}"
        );
        let error = meant("we", &all, "").unwrap_err().to_string();
        assert!(error.contains("web (1000), ") && error.ends_with(", web (1009) and 1,190 more"), "{error}");
    }
}
