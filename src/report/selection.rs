//! Which part of its inventory a run is of, in words: `3 of 60 VMs: --rack dc1r27`.

use serde_json::{Map, Value};

use crate::ledger::NARROWING;
use crate::text::{count, counted, excerpt, quoted};

/// Characters of all that was typed.
const TEXT: usize = 160;

/// The VMs of a run: `60 VMs`, or `3 of 60 VMs` where they are not all of the inventory's.
pub(super) fn vms(selected: u64, inventory: Option<u64>) -> String {
    match inventory {
        Some(all) if all > selected => format!("{} of {}", count(selected), counted(all, "VM", "VMs")),
        _ => counted(selected, "VM", "VMs"),
    }
}

/// [`vms`] with the options that selected them; `None` where the whole inventory is meant.
pub(super) fn selection(
    options: &Map<String, Value>,
    selected: u64,
    inventory: Option<u64>,
) -> Option<String> {
    typed(options).map(|typed| format!("{}: {typed}", vms(selected, inventory)))
}

/// The options that selected a run's VMs; `None` where none did.
pub(super) fn typed(options: &Map<String, Value>) -> Option<String> {
    let typed = NARROWING.iter().flat_map(|name| values(options, name).map(move |value| word(name, value)));
    let typed: Vec<String> = typed.collect();
    (!typed.is_empty()).then(|| excerpt(&typed.join(" "), TEXT))
}

fn values<'a>(options: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a str> {
    let value = options.get(name);
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    value.into_iter().chain(list).filter_map(Value::as_str)
}

fn word(name: &str, value: &str) -> String {
    match name {
        "only-failed" | "only-planned" => format!("--{name}={}", quoted(value)),
        _ => format!("--{name} {}", quoted(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_of_an_inventory_is_told_with_what_selected_it() {
        for (options, inventory, told) in [
            (json!({}), Some(3), None),
            (json!({"rate": "10/s", "column": "vmid=id"}), Some(60), None),
            (json!({"rack": "dc1r27"}), Some(60), Some("3 of 60 VMs: --rack dc1r27")),
            (json!({"rack": "*"}), Some(3), Some("3 VMs: --rack '*'")),
            (json!({"limit": "3"}), None, Some("3 VMs: --limit 3")),
            (
                json!({"where": ["team=a b", "role=!c"], "only-failed": "latest", "only-planned": "2026", "limit": "3", "vmid": "@ids", "rack": ["a", "!b"]}),
                Some(6_000),
                Some(
                    "3 of 6,000 VMs: --rack a --rack '!b' --vmid @ids --where 'team=a b' --where 'role=!c' --only-failed=latest --only-planned=2026 --limit 3",
                ),
            ),
            (json!({"rack": "\u{1b}[2J"}), Some(60), Some("3 of 60 VMs: --rack $'\\u001b[2J'")),
        ] {
            let Value::Object(options) = options else { panic!("no options") };
            assert_eq!(selection(&options, 3, inventory).as_deref(), told, "{options:?}");
        }
        let long = json!({"vmid": "1".repeat(9_000)});
        let told = selection(long.as_object().unwrap(), 3, None).unwrap();
        assert!(told.ends_with('…') && told.chars().count() < 200, "{told}");
    }
}
