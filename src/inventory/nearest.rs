//! Which names a name that cannot be found may have been meant for.

use super::error::listed;

/// How like two names have to be, of 1.
const LIKE: f64 = 0.8;

/// How many names are offered.
const OFFERED: usize = 3;

/// The names nearest to `wanted`, for a message; empty where none is near.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut near: Vec<(f64, &str)> =
        names.map(|name| (likeness(wanted, name), name)).filter(|(like, _)| *like >= LIKE).collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    listed(near.into_iter().take(OFFERED).map(|(_, name)| name))
}

/// A path is also as like as its last key, and a name as one that has it as a part.
fn likeness(wanted: &str, name: &str) -> f64 {
    let (wanted, name) = (letters(wanted), letters(name));
    let [wanted_key, key] = [&wanted, &name].map(|path| path.rsplit('.').next().unwrap_or(path));
    let is_part = |part: &str, whole: &str| part.len() > 2 && whole.contains(part);
    let leads_there = name.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let shares = leads_there || is_part(wanted_key, key) || is_part(key, wanted_key);
    let whole = strsim::normalized_damerau_levenshtein(&wanted, &name);
    let keys = 0.95 * strsim::jaro_winkler(wanted_key, key);
    whole.max(keys).max(if shares { 0.85 } else { 0.0 })
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '-' | '_' | '"')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_may_have_been_meant_come_the_nearest_first() {
        let names = ["id", "name", "cf_hostup_vmid", "custom_fields.hostup_rack", "status.value", "Labels"];
        for (wanted, expected) in [
            ("hostup_vmid", "cf_hostup_vmid"),
            ("custom_fields.hostup_rak", "custom_fields.hostup_rack"),
            ("Hostup Rack", "custom_fields.hostup_rack"),
            ("Label", "Labels"),
            ("status", "status.value"),
            ("namee", "name"),
            ("prefix", ""),
            ("", ""),
        ] {
            let found = nearest(wanted, names.into_iter());
            assert!(found.split(", ").next() == Some(expected), "{wanted}: {found}");
        }
        assert_eq!(nearest("rack", ["rack1", "rack2", "rack3", "rack4"].into_iter()), "rack1, rack2, rack3");
    }
}
