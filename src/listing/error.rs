//! Why a list of the account's VMs is not whole, in words that say what to do; and what that means for the exit code.

use std::io;

use crate::api::{Credential, Fault};
use crate::dialect::InvalidVmId;
use crate::stop::Stop;
use crate::text::counted;
use crate::vm::VmId;

/// Why the list is not whole. Pages are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("page {page} of the list: {source}")]
    Page { page: u64, source: GivenUp },
    #[error(
        "page {page} of the list leads where page {first} has led already: the list has no end; try again"
    )]
    CursorTwice { page: u64, first: u64 },
    #[error(
        "VM {vm} is on page {first} of the list and, with other contents, on page {page}: the list changed while it was \
         read; try again"
    )]
    Changed { vm: VmId, first: u64, page: u64 },
    #[error(
        "the last {pages} pages of the list named no VM that earlier ones had not: the list has no end; try again"
    )]
    Endless { pages: u64 },
    #[error("the list of the VMs seen so far, a temporary file, failed: {0}")]
    Seen(#[from] io::Error),
    #[error(transparent)]
    Id(#[from] InvalidVmId),
    #[error("stopped before the list was whole ({0})")]
    Stopped(Stop),
}

/// Why a page is asked for no more.
#[derive(Debug, thiserror::Error)]
pub enum GivenUp {
    #[error("{} after {}: {}", fault.failure, counted((*attempts).into(), "attempt", "attempts"), fault.message)]
    Failed { attempts: u32, fault: Fault },
    #[error("{}: {}", doubted(*credential), fault.message)]
    Refused { credential: Credential, fault: Fault },
    #[error(
        "the API refuses it to this key (403): {}; the key needs the scope read:vm, of an account that is active",
        fault.message
    )]
    Forbidden { fault: Fault },
    #[error("the API lets nothing through for longer than --max-wait{}", after(fault.as_ref()))]
    MaxWait { fault: Option<Fault> },
}

fn doubted(credential: Credential) -> &'static str {
    match credential {
        Credential::Key => "the API refuses the key",
        Credential::Certificate => "the API is not trusted, or does not trust us",
    }
}

fn after(fault: Option<&Fault>) -> String {
    fault.map_or_else(String::new, |fault| format!(": {}: {}", fault.failure, fault.message))
}

impl ListError {
    /// What of all that stops a run it was; `None` where the list itself is at fault.
    pub fn stop(&self) -> Option<Stop> {
        match self {
            Self::Stopped(stop) => Some(*stop),
            Self::Page { source, .. } => source.stop(),
            Self::CursorTwice { .. }
            | Self::Changed { .. }
            | Self::Endless { .. }
            | Self::Seen(_)
            | Self::Id(_) => None,
        }
    }
}

impl GivenUp {
    fn stop(&self) -> Option<Stop> {
        match self {
            Self::Failed { .. } => None,
            Self::Refused { credential: Credential::Key, .. } | Self::Forbidden { .. } => {
                Some(Stop::KeyRefused)
            }
            Self::Refused { credential: Credential::Certificate, .. } => Some(Stop::CertificateRefused),
            Self::MaxWait { .. } => Some(Stop::MaxWait),
        }
    }
}
