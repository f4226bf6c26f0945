//! Where a request goes, in which of the two dialects it is answered, and what it is to the record.

use std::fmt;
use std::str::FromStr;

use axum::http::Method;

use crate::dialect::Dialect;

const LIST: &str = "/api/v2/vps";

/// That of a path, whether it leads anywhere or not.
pub(super) fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/api/v2/") { Dialect::V2 } else { Dialect::V1 }
}

/// What a request is: only a call may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    /// A GET of one VM's routed IPv6.
    Look,
    /// A GET of one page of the account's VMs.
    List,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Call, Self::Look, Self::List];

    /// As it is written in the record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Look => "look",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// A path of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/api/vm/{vmid}/routed-ipv6`, or `/api/v2/vps/{id}/routed-ipv6`, whatever stands for the id.
    Vm(Dialect, &'a str),
    /// `/api/v2/vps`
    List,
}

impl<'a> Route<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        if path == LIST {
            return Some(Self::List);
        }
        let (dialect, rest) = match path.strip_prefix("/api/v2/vps/") {
            Some(rest) => (Dialect::V2, rest),
            None => (Dialect::V1, path.strip_prefix("/api/vm/")?),
        };
        let vmid = rest.strip_suffix("/routed-ipv6")?;
        (!vmid.is_empty() && !vmid.contains('/')).then_some(Self::Vm(dialect, vmid))
    }

    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Vm(dialect, _) => dialect,
            Self::List => Dialect::V2,
        }
    }

    /// What stands for the VM's id.
    pub(super) fn vmid(self) -> Option<&'a str> {
        match self {
            Self::Vm(_, vmid) => Some(vmid),
            Self::List => None,
        }
    }

    pub(super) fn kind(self, method: &Method) -> Kind {
        match self {
            Self::List => Kind::List,
            Self::Vm(Dialect::V2, _) if method == Method::GET => Kind::Look,
            Self::Vm(..) => Kind::Call,
        }
    }

    /// The methods that the path takes, for `Allow`.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::List => "GET",
            Self::Vm(Dialect::V1, _) => "POST",
            Self::Vm(Dialect::V2, _) => "GET, POST",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_paths_lead_somewhere() {
        for (path, route) in [
            ("/api/vm/10000/routed-ipv6", Route::Vm(Dialect::V1, "10000")),
            ("/api/v2/vps/x/routed-ipv6", Route::Vm(Dialect::V2, "x")),
            ("/api/v2/vps", Route::List),
        ] {
            assert_eq!(Route::of(path), Some(route), "{path}");
        }
        for path in [
            "/api/vm//routed-ipv6",
            "/api/vm/1/2/routed-ipv6",
            "/api/vm/1/routed-ipv6/",
            "/api/vm/1",
            "/api/v2/vm/1/routed-ipv6",
            "/api/v2/vps//routed-ipv6",
            "/api/v2/vps/1/2/routed-ipv6",
            "/api/v2/vps/",
            "/api/v2/vps/1",
            "/api/v2/routed-ipv6",
            "/",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn only_v2_can_be_read() {
        let (v1, v2) = (Route::Vm(Dialect::V1, "1"), Route::Vm(Dialect::V2, "1"));
        for (route, method, kind) in [
            (v1, Method::GET, Kind::Call),
            (v1, Method::POST, Kind::Call),
            (v2, Method::GET, Kind::Look),
            (v2, Method::POST, Kind::Call),
            (v2, Method::DELETE, Kind::Call),
            (Route::List, Method::GET, Kind::List),
        ] {
            assert_eq!(route.kind(&method), kind, "{route:?} {method}");
        }
    }
}
