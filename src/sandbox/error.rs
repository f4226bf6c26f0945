//! Why the sandbox does not start.

use std::io;
use std::net::SocketAddr;

use super::{InvalidState, TlsError, TooManyFaults};

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the sandbox listens on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start the sandbox's thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    State(#[from] InvalidState),
    #[error(transparent)]
    Faults(#[from] TooManyFaults),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("there is no rack {0} to go wrong")]
    NoSuchRack(String),
    #[error("there is no VM {0} to go wrong")]
    NoSuchVm(String),
}
