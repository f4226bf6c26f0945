//! Which VMs the fleet has had so far, and with what contents, so that no VM is called for twice.

use std::hash::Hash;

use super::error::SeenError;
use super::vm::Vm;
use crate::allocation::{Expected, NextHop, Prefix};
use crate::dialect::Dialect;
use crate::seen::{self, Position, Sight};
use crate::vm::Action;

pub(super) struct Seen {
    dialect: Dialect,
    seen: seen::Seen,
}

impl Seen {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, seen: seen::Seen::new() }
    }

    /// Notes a VM where it is the first of its id.
    pub(super) fn note(&mut self, vm: &Vm, at: Position) -> Result<Sight, SeenError> {
        // Numbers take half the time of the ids' texts.
        let vmid = self.dialect.number(vm.id.as_str())?;
        Ok(self.seen.note(vmid, contents(vm), at)?)
    }
}

/// The same for equal contents, whatever the order of the labels and the way an address is written.
fn contents(vm: &Vm) -> impl Hash {
    let Expected { prefix, next_hop, rack_id, account_id, client_id, proxmox_vm_id } = &vm.expected;
    let network = prefix.as_ref().map(Prefix::network);
    let address = next_hop.as_ref().map(NextHop::address);
    let texts = [&vm.name, rack_id, account_id, client_id, proxmox_vm_id];
    let mut labels: Vec<_> = vm.labels.iter().collect();
    labels.sort_unstable();
    (network, address, vm.action.map(Action::as_str), texts, labels)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::collections::hash_map::Entry;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn vm(edit: impl FnOnce(&mut Vm)) -> Vm {
        let expected = Expected { prefix: "2001:db8::1/48".parse().ok(), ..Expected::default() };
        let labels = [("role", "db"), ("owner", "ann")].map(|(name, text)| (name.into(), text.into())).into();
        let mut vm = Vm { id: "1".parse().unwrap(), name: None, action: None, expected, labels };
        edit(&mut vm);
        vm
    }

    fn at(file: usize, line: u64) -> Position {
        Position { file, line, row: (line > 3).then_some(line * 2) }
    }

    #[test]
    fn a_vm_is_first_once_and_then_a_repeat_or_a_conflict() {
        let mut seen = Seen::new(Dialect::V1);
        assert_eq!(seen.note(&vm(|_| ()), at(0, 2)).unwrap(), Sight::First);
        let same = vm(|vm| {
            vm.labels.reverse();
            vm.expected.prefix = "2001:0DB8::/48".parse().ok();
        });
        assert_eq!(seen.note(&same, at(1, 3)).unwrap(), Sight::Repeat(at(0, 2)));
        let edits: [fn(&mut Vm); 6] = [
            |vm| vm.name = Some(String::new()),
            |vm| vm.action = Some(Action::Allocate),
            |vm| vm.expected.prefix = None,
            |vm| vm.expected.next_hop = "2001:db8::1".parse().ok(),
            |vm| vm.expected.client_id = Some("3".into()),
            |vm| vm.labels[0].1 = "web".into(),
        ];
        for edit in edits {
            assert_eq!(seen.note(&vm(edit), at(1, 4)).unwrap(), Sight::Conflict(at(0, 2)));
        }
        assert_eq!(seen.note(&vm(|vm| vm.id = "2".parse().unwrap()), at(1, 5)).unwrap(), Sight::First);
    }

    proptest! {
        #[test]
        fn every_vm_is_told_where_it_was_first(
            dialect in prop::sample::select(Dialect::ALL),
            rows in vec((1..40_u32, 0..3_u8), 0..60),
        ) {
            let mut seen = Seen::new(dialect);
            let bits = if dialect == Dialect::V1 { 3 } else { 6 };
            let mut firsts = HashMap::new();
            for (line, (id, name)) in (2..).zip(rows) {
                let row = vm(|vm| {
                    vm.id = dialect.written(u128::from(id % 2 + 1) << (bits * (id / 2)));
                    vm.name = Some(name.to_string());
                });
                let expected = match firsts.entry(id) {
                    Entry::Vacant(vacant) => {
                        vacant.insert((name, at(1, line)));
                        Sight::First
                    }
                    Entry::Occupied(first) if first.get().0 == name => Sight::Repeat(first.get().1),
                    Entry::Occupied(first) => Sight::Conflict(first.get().1),
                };
                prop_assert_eq!(seen.note(&row, at(1, line)).unwrap(), expected);
            }
        }
    }
}
