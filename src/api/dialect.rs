//! What is said to the API and how its answers are read, in whichever dialect it is spoken to.
//!
//! Pure. What differs is in a file for each dialect, and picked here; what they have in common is in one place.

use std::borrow::Cow;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::attempt::Attempt;
use super::fault::{self, Head};
use super::meaning::Sense;
use super::page::Page;
use super::{v1, v2};
use crate::dialect::Dialect;
use crate::vm::{Action, VmId};

/// What an answer is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Call,
    Look,
}

/// The header that carries the key: its name in lower case, and its value.
pub(super) fn key(dialect: Dialect, key: &SecretString) -> (&'static str, SecretString) {
    match dialect {
        Dialect::V1 => (v1::KEY, key.clone()),
        Dialect::V2 => (v2::KEY, v2::bearer(key.expose_secret()).into()),
    }
}

/// Where a VM's allocation is asked for.
pub(super) fn url(dialect: Dialect, base: &Url, vm: &VmId) -> Url {
    let vms = match dialect {
        Dialect::V1 => v1::VMS,
        Dialect::V2 => v2::VMS,
    };
    below(base, &format!("{vms}/{}/routed-ipv6", segment(vm.as_str())))
}

/// Where the account's list of VMs is: the first page of it, or the one that a cursor leads to.
pub(super) fn list_url(base: &Url, cursor: Option<&str>) -> Url {
    let mut url = below(base, v2::VMS);
    let cursor = cursor.map(|cursor| (v2::list::CURSOR, cursor));
    url.query_pairs_mut().extend_pairs(v2::list::QUERY.into_iter().chain(cursor));
    url
}

/// The same of a page of one VM.
pub(super) fn one_url(base: &Url) -> Url {
    let mut url = below(base, v2::VMS);
    url.query_pairs_mut().extend_pairs(v2::list::ONE);
    url
}

/// Where the API answers without being told of any VM, if only that there is nothing, or that a key is missing.
pub(super) fn door_url(dialect: Dialect, base: &Url) -> Url {
    match dialect {
        Dialect::V1 => below(base, v1::VMS),
        Dialect::V2 => one_url(base),
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// One segment of a path, whatever the text is. What no id has is escaped twice: once is undone on the way by some, and
/// `%2E%2E` is read as `..`.
fn segment(id: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if id.bytes().all(is_plain) {
        return id.into();
    }
    let escaped = |byte: u8| if is_plain(byte) { char::from(byte).into() } else { format!("%25{byte:02X}") };
    id.bytes().map(escaped).collect()
}

/// `action` is v1's only field; in v2 nothing but that is ever sent.
pub(super) fn body(action: Action) -> &'static str {
    match action {
        Action::Allocate => r#"{"action":"allocate"}"#,
        Action::RefreshNextHop => r#"{"action":"refresh_next_hop"}"#,
    }
}

/// Reads an answer into `attempt`.
pub(super) fn read(dialect: Dialect, purpose: Purpose, head: &Head, text: &str, attempt: &mut Attempt) {
    match (dialect, purpose) {
        _ if !head.is_success() => {
            fault::refuse(head, text, |body| Sense::of_error(head.status, body), attempt);
        }
        (Dialect::V1, Purpose::Call) => v1::read(head, text, attempt),
        (Dialect::V1, Purpose::Look) => fault::misread(head, text, "v1 has no look", attempt),
        (Dialect::V2, Purpose::Call) => v2::read(head, text, attempt),
        (Dialect::V2, Purpose::Look) => v2::read_look(head, text, attempt),
    }
}

/// The same of a page of the list.
pub(super) fn read_page(dialect: Dialect, head: &Head, text: &str, attempt: &mut Attempt<Page>) {
    match dialect {
        _ if !head.is_success() => {
            fault::refuse(head, text, |body| Sense::of_error(head.status, body), attempt);
        }
        Dialect::V1 => fault::misread(head, text, "v1 has no list", attempt),
        Dialect::V2 => v2::list::read(head, text, attempt),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2: &str = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";

    fn path(dialect: Dialect, base: &str, id: &str) -> String {
        url(dialect, &base.parse().unwrap(), &VmId::from(id)).to_string()
    }

    #[test]
    fn each_dialect_has_its_path_below_the_base_url() {
        for (base, v1, v2) in [
            (
                "https://cloud.hostup.se",
                "https://cloud.hostup.se/api/vm/10000/routed-ipv6",
                format!("https://cloud.hostup.se/api/v2/vps/{V2}/routed-ipv6"),
            ),
            (
                "http://127.0.0.1:8080/below/",
                "http://127.0.0.1:8080/below/api/vm/10000/routed-ipv6",
                format!("http://127.0.0.1:8080/below/api/v2/vps/{V2}/routed-ipv6"),
            ),
        ] {
            assert_eq!(path(Dialect::V1, base, "10000"), v1);
            assert_eq!(path(Dialect::V2, base, V2), v2);
        }
    }

    #[test]
    fn the_list_is_asked_for_page_by_page_and_a_cursor_is_one_parameter_whatever_is_in_it() {
        let url = |base: &str, cursor| list_url(&base.parse().unwrap(), cursor).to_string();
        let first = "https://host/below/api/v2/vps?limit=100&include=pendingMaintenance";
        assert_eq!(url("https://host/below/", None), first);
        for cursor in ["b3BhcXVl", "", "a&limit=1#/../?=%2e%0d%0a\r\n\0 å"] {
            let url: Url = url("https://host/below", Some(cursor)).parse().unwrap();
            let pairs: Vec<_> = url.query_pairs().collect();
            assert_eq!((pairs.len(), &*pairs[2].0, &*pairs[2].1), (3, "cursor", cursor));
            assert!(url.as_str().starts_with(first) && url.fragment().is_none());
        }
    }

    #[test]
    fn the_key_goes_where_the_dialect_has_it() {
        let secret = SecretString::from("k-1");
        let shown = |dialect| {
            let (name, value) = key(dialect, &secret);
            (name, value.expose_secret().to_owned())
        };
        assert_eq!(shown(Dialect::V1), ("x-api-key", "k-1".to_owned()));
        assert_eq!(shown(Dialect::V2), ("authorization", "Bearer k-1".to_owned()));
    }

    /// Whatever was taken for an id, once and twice unescaped, is one segment and no step up.
    fn stays_one_segment(dialect: Dialect, id: &str) {
        let url = url(dialect, &"https://host/base".parse().unwrap(), &VmId::from(id));
        assert_eq!((url.query(), url.fragment(), url.host_str()), (None, None, Some("host")), "{id:?}");
        let segments: Vec<&str> = url.path_segments().unwrap().collect();
        let (vm, last) = (segments[segments.len() - 2], segments[segments.len() - 1]);
        let vms = match dialect {
            Dialect::V1 => &["base", "api", "vm"][..],
            Dialect::V2 => &["base", "api", "v2", "vps"],
        };
        assert_eq!((&segments[..segments.len() - 2], last), (vms, "routed-ipv6"), "{id:?}");
        let once = vm.replace("%25", "%");
        assert!(!once.contains(['/', '.', '\\', '?', '#']) && once.is_ascii(), "{id:?}: {once}");
    }

    #[test]
    fn what_is_meant_to_do_harm_stays_one_segment() {
        for &dialect in Dialect::ALL {
            for id in [
                "..",
                ".",
                "../x",
                "vps_../x",
                "1/2",
                "%2e%2e",
                "%2f",
                "1?x=1",
                "1#x",
                "1\\2",
                "\n",
                "1\t2",
                "\0",
                " ",
                "ü",
                "1;x",
                "@host",
                "//host",
                &"9".repeat(10_000),
                "",
            ] {
                stays_one_segment(dialect, id);
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place_in_the_path(id in ".{0,40}") {
            for &dialect in Dialect::ALL {
                stays_one_segment(dialect, &id);
            }
        }
    }
}
