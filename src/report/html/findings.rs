//! What is to be said of many VMs in the same words, said once: changes, drift and warnings.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::report::page::functions::{examples, excerpt};

/// Different texts that are kept for one subject; of the others only the number.
const KEPT: usize = 50;

/// VMs that are named for a text.
const EXAMPLES: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Findings {
    subjects: BTreeMap<&'static str, Subject>,
}

#[derive(Debug, Default)]
struct Subject {
    kept: Vec<Finding>,
    at: HashMap<[String; 2], usize>,
    more: u64,
}

/// One text and the VMs that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Such as before and after.
    pub(super) said: [String; 2],
    pub(super) vms: u64,
    examples: Vec<String>,
}

impl Finding {
    pub(super) fn examples(&self) -> String {
        examples(self.vms, &self.examples)
    }
}

impl Findings {
    pub(super) fn add(&mut self, subject: &'static str, said: [&str; 2], vmid: &str) {
        self.subjects.entry(subject).or_default().add(said.map(excerpt), vmid);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// Each subject with its texts, the most frequent first, and how many findings there are beside them.
    pub(super) fn by_subject(&self) -> Vec<(&'static str, Vec<Finding>, u64)> {
        let sorted = |subject: &Subject| {
            let mut kept = subject.kept.clone();
            kept.sort_by_key(|finding| Reverse(finding.vms));
            kept
        };
        self.subjects.iter().map(|(name, subject)| (*name, sorted(subject), subject.more)).collect()
    }
}

impl Subject {
    fn add(&mut self, said: [String; 2], vmid: &str) {
        let at = match self.at.get(&said) {
            Some(&at) => at,
            None if self.kept.len() == KEPT => {
                self.more += 1;
                return;
            }
            None => {
                self.kept.push(Finding { said: said.clone(), vms: 0, examples: vec![] });
                self.at.insert(said, self.kept.len() - 1);
                self.kept.len() - 1
            }
        };
        let finding = &mut self.kept[at];
        finding.vms += 1;
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(vmid.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_said_once_with_its_vms_and_the_most_frequent_comes_first() {
        let mut findings = Findings::default();
        assert!(findings.is_empty());
        findings.add("next_hop", ["::1", "::3"], "1");
        for vmid in ["2", "3", "4", "5"] {
            findings.add("next_hop", ["::1", "::2"], vmid);
        }
        let [(subject, kept, 0)] = &findings.by_subject()[..] else { panic!("{findings:?}") };
        let told: Vec<_> =
            kept.iter().map(|finding| (&*finding.said[1], finding.vms, finding.examples())).collect();
        assert_eq!(
            (*subject, told),
            ("next_hop", vec![("::2", 4, "2, 3, 4, …".into()), ("::3", 1, "1".into())])
        );
    }

    #[test]
    fn a_subject_with_too_many_texts_leaves_the_others_their_room() {
        let mut findings = Findings::default();
        for vmid in 0..1_000 {
            findings.add("prefix", [&format!("{vmid}::/64"), ""], "1");
        }
        findings.add("status", ["active", "released"], "1");
        let found = findings.by_subject();
        assert_eq!((found[0].1.len(), found[0].2), (KEPT, 1_000 - KEPT as u64));
        assert_eq!((found[1].1.len(), found[1].2), (1, 0));
    }
}
