//! What connections are told: to go on, to end, or to break off in the middle of a call.

/// What every connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Serve,
    /// The connections there are, are reset.
    Reset,
    /// Calls that wait for nothing but the end have it now; the others may finish.
    Finish,
}

/// Put into a response's extensions: what is broken off instead. Over HTTP/1.1 that is always the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call is to be broken off")]
pub(super) enum Broken {
    Connection,
    Stream,
    /// The stream, and the call was not looked at.
    Refused,
    /// The connection from this stream on, none of which was looked at.
    GoAway,
    /// The connection says nothing more.
    Silence,
}
