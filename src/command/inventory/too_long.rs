//! VMs of a list that `run` would refuse as rows of an inventory: of what they are called nothing is cut here.

use crate::inventory::{MAX_LABEL, MAX_NAME};
use crate::text::{count, counted, escape};
use crate::vm::{Listed, VmId};

/// How many there are, and one of them with the column that is too long.
#[derive(Debug, Default)]
pub(super) struct TooLong {
    vms: u64,
    first: Option<(VmId, Excess)>,
}

/// A column, and the most characters that it may have.
type Excess = (&'static str, usize);

impl TooLong {
    pub(super) fn note(&mut self, vm: &Listed) {
        if let Some(excess) = excess(vm) {
            self.vms += 1;
            self.first.get_or_insert_with(|| (vm.id.clone(), excess));
        }
    }

    pub(super) fn warning(self) -> Option<String> {
        let (vm, (column, most)) = self.first?;
        let vms = counted(self.vms, "VM", "VMs");
        let most = count(most as u64);
        Some(format!(
            "{vms} with a text that is longer than run takes, such as VM {vm}, whose {column} has more than {most} \
             characters: run --skip-invalid goes on without them"
        ))
    }
}

fn excess(vm: &Listed) -> Option<Excess> {
    let tags = vm.tags.as_ref().map(|tags| tags.join("; "));
    let columns = [
        ("name", &vm.name, MAX_NAME),
        ("primary_ip", &vm.primary_ip, MAX_LABEL),
        ("service_status", &vm.service_status, MAX_LABEL),
        ("power_state", &vm.power_state, MAX_LABEL),
        ("os", &vm.os, MAX_LABEL),
        ("tags", &tags, MAX_LABEL),
    ];
    let is_longer = |text: &str, most| text.len() > most / ESCAPE && escape(text).chars().count() > most;
    let longer =
        columns.into_iter().filter_map(|(column, text, most)| Some((column, text.as_deref()?, most)));
    longer.into_iter().find(|(_, text, most)| is_longer(text, *most)).map(|(column, _, most)| (column, most))
}

/// What a character becomes in a cell has at most so many of them: `\u{2066}`.
const ESCAPE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: &str, name: String) -> Listed {
        Listed { name: Some(name), ..Listed::unknown(id.into()) }
    }

    #[test]
    fn what_run_would_refuse_is_told_with_the_first_vm_of_it() {
        for (name, is_told) in [
            ("å".repeat(255), false),
            ("a".repeat(256), true),
            ("\u{2066}".repeat(31), false),
            ("\u{2066}".repeat(32), true),
        ] {
            let mut too_long = TooLong::default();
            too_long.note(&vm("vps_a", name));
            assert_eq!(too_long.warning().is_some(), is_told);
        }
        let mut too_long = TooLong::default();
        too_long.note(&Listed { tags: Some(vec!["t".repeat(32_767)]), ..vm("vps_a", String::new()) });
        too_long
            .note(&Listed { tags: Some(vec!["t".repeat(32_766), String::new()]), ..vm("vps_b", "b".into()) });
        too_long.note(&vm("vps_c", "c".repeat(10_000)));
        let told = too_long.warning().unwrap();
        assert!(
            told.starts_with("2 VMs with a text")
                && told.contains("VM vps_b, whose tags has more than 32,767"),
            "{told}"
        );
    }
}
