//! What `run --resume` does with the job's last run, where that is unfinished. Pure.

use serde_json::{Map, Value};

use crate::inventory::InventoryFile;
use crate::inventory::READING;
use crate::stop::Stop;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// The run is gone on with.
    GoOn,
    /// It would have other VMs by now: a new run is begun.
    Anew,
    /// A brake stopped it: that is for a person to decide.
    Braked(Stop),
}

/// What a run's VMs are read from, and how.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub files: &'a [InventoryFile],
    pub options: &'a Map<String, Value>,
}

impl Resumption {
    /// What is to be done with a run that stopped like this, and has its VMs from `then`.
    pub fn of(stopped_by: Option<Stop>, then: Origin<'_>, now: Origin<'_>) -> Self {
        match stopped_by {
            Some(stop) if stop.is_brake() => Self::Braked(stop),
            _ if then.has_contents_of(now) && then.is_read_as(now) => Self::GoOn,
            _ => Self::Anew,
        }
    }
}

impl<'a> Origin<'a> {
    /// Whether the same is in the files, whatever they are called.
    pub fn has_contents_of(self, other: Origin<'_>) -> bool {
        self.sums().eq(other.sums())
    }

    /// Whether the same VMs would be found in them.
    pub fn is_read_as(self, other: Origin<'_>) -> bool {
        self.reading().eq(other.reading())
    }

    fn sums(self) -> impl Iterator<Item = &'a str> {
        self.files.iter().map(|file| file.sha256.as_str())
    }

    /// `auto` is as good as not typed, and is not known to older runs.
    fn reading(self) -> impl Iterator<Item = Option<&'a Value>> {
        READING.iter().map(move |name| self.options.get(*name).filter(|value| *value != "auto"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(stopped_by: Option<Stop>, then: (&[&str], Value), now: (&[&str], Value)) -> Resumption {
        let [then, now] = [then, now].map(|(sums, options)| {
            let file = |sum: &&str| InventoryFile { path: "fleet.csv".into(), sha256: (*sum).to_owned() };
            let Value::Object(options) = options else { panic!("not an object") };
            (sums.iter().map(file).collect::<Vec<_>>(), options)
        });
        let [then, now] = [&then, &now].map(|(files, options)| Origin { files, options });
        Resumption::of(stopped_by, then, now)
    }

    #[test]
    fn a_run_is_gone_on_with_over_the_same_contents_read_in_the_same_way() {
        for (then, now, expected) in [
            ((&["a"][..], json!({})), (&["a"][..], json!({})), Resumption::GoOn),
            ((&["a"], json!({"rate": "1/s"})), (&["a"], json!({"rate": "2/s"})), Resumption::GoOn),
            ((&["a"], json!({})), (&["a"], json!({"delimiter": "auto"})), Resumption::GoOn),
            ((&["a"], json!({})), (&["b"], json!({})), Resumption::Anew),
            ((&["a"], json!({})), (&["a", "b"], json!({})), Resumption::Anew),
            ((&["a", "b"], json!({})), (&["b", "a"], json!({})), Resumption::Anew),
            ((&["a"], json!({"column": "vmid=x"})), (&["a"], json!({"column": "vmid=y"})), Resumption::Anew),
            ((&["a"], json!({"column": "vmid=x"})), (&["a"], json!({})), Resumption::Anew),
            ((&["a"], json!({})), (&["a"], json!({"delimiter": ";"})), Resumption::Anew),
        ] {
            for stopped_by in [None, Some(Stop::Deadline), Some(Stop::Terminated), Some(Stop::KeyRefused)] {
                let given = format!("{stopped_by:?} {then:?} {now:?}");
                assert_eq!(of(stopped_by, then.clone(), now.clone()), expected, "{given}");
            }
        }
    }

    #[test]
    fn what_a_brake_stopped_waits_for_a_person_whatever_has_become_of_its_inventory() {
        for stop in Stop::ALL.iter().copied().filter(|stop| stop.exit_code() == 4) {
            for now in ["a", "b"] {
                let found = of(Some(stop), (&["a"], json!({})), (&[now], json!({})));
                assert_eq!(found, Resumption::Braked(stop), "{stop} {now}");
            }
        }
        assert!(Stop::ALL.iter().all(|stop| stop.is_brake() == (stop.exit_code() == 4)));
    }
}
