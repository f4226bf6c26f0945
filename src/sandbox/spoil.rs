//! What a fault makes of a whole answer on its way out.
//!
//! Bodies, and the age of one from a cache; connections are broken off by `listen`, and what is answered is decided in `respond`.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::header::{AGE, CONTENT_LENGTH};
use axum::http::{HeaderValue, Response};
use futures_util::{FutureExt, StreamExt, future, stream};

use super::fault::Fault;

/// No UTF-8, no JSON, nothing for a terminal.
const GARBAGE: &[u8] = b"\x00\xff\xfe{\"success\":tru\x1b[2J\x07<\xc3\x28>\r\n";
const FILLING: &[u8] = &[b' '; 8192];

/// The answer as it leaves; `finished` ends one that would not end of itself.
pub(super) fn spoil(
    response: Response<Vec<u8>>,
    fault: Option<Fault>,
    finished: impl Future<Output = ()> + Send + 'static,
) -> Response<Body> {
    match fault {
        Some(Fault::Truncated) => truncated(response),
        Some(Fault::Garbage) => response.map(|_| Body::from(GARBAGE)),
        Some(Fault::Cached) => cached(response),
        Some(Fault::Endless) => response.map(|body| endless(body, finished)),
        Some(
            Fault::Reset(_)
            | Fault::Hang(_)
            | Fault::Late
            | Fault::Status(..)
            | Fault::Html(_)
            | Fault::RefusedByApi
            | Fault::Lie(_)
            | Fault::StreamReset(_)
            | Fault::RefusedStream
            | Fault::GoAway
            | Fault::Silence(_)
            | Fault::LateEffect
            | Fault::Stale
            | Fault::Conflict(_)
            | Fault::Inactive
            | Fault::List(_),
        )
        | None => response.map(Body::from),
    }
}

/// Says since when it has been kept.
fn cached(mut response: Response<Vec<u8>>) -> Response<Body> {
    response.headers_mut().insert(AGE, HeaderValue::from(Fault::Cached.age().as_secs()));
    response.map(Body::from)
}

/// Announces the whole length, sends the first half and breaks off.
fn truncated(response: Response<Vec<u8>>) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    body.truncate(body.len() / 2);
    let half = future::ready(Ok(Bytes::from(body)));
    // An error at once would keep the half that is buffered from leaving.
    let broken = tokio::task::yield_now().map(|()| Err(io::Error::from(io::ErrorKind::BrokenPipe)));
    Response::from_parts(parts, Body::from_stream(stream::once(half).chain(stream::once(broken))))
}

/// All but the last byte, and then white space without end.
fn endless(mut body: Vec<u8>, finished: impl Future<Output = ()> + Send + 'static) -> Body {
    body.pop();
    let start = stream::iter([Bytes::from(body)]);
    let chunks = start.chain(stream::repeat(Bytes::from_static(FILLING))).take_until(finished);
    Body::from_stream(chunks.map(Ok::<_, io::Error>))
}
