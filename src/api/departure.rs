//! The moment at which a call leaves: when its body is fetched to be sent.
//!
//! Until then it waits for a connection, or on one of HTTP/2 for its turn, and the API knows of no action. A call that
//! was given up while it waited never leaves.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use tokio::sync::SetOnce;

use crate::clock;

/// Whether a call has left, and when. Dropped, it is given up.
#[derive(Debug, Default)]
pub(super) struct Departure(Arc<SetOnce<Left>>);

/// When a call left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) at: Instant,
    /// The same on our clock.
    pub(super) date: Timestamp,
}

impl Departure {
    /// Of a request without a body, whose sending nothing notes: as if it left at once.
    pub(super) fn at_once() -> Self {
        let left = Left { at: Instant::now(), date: clock::now() };
        Self(Arc::new(SetOnce::new_with(Some(left))))
    }

    /// A request's body, whose sending is noted here.
    pub(super) fn body(&self, json: &'static str) -> reqwest::Body {
        reqwest::Body::wrap(Body { json: Some(json), departure: Arc::downgrade(&self.0) })
    }

    pub(super) fn left(&self) -> Option<Left> {
        self.0.get().copied()
    }

    pub(super) async fn leaves(&self) -> Left {
        *self.0.wait().await
    }
}

struct Body {
    /// `None` once it was fetched.
    json: Option<&'static str>,
    departure: Weak<SetOnce<Left>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the call was given up before it left")]
struct GivenUp;

impl http_body::Body for Body {
    type Data = &'static [u8];
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, GivenUp>>> {
        let Some(json) = self.json.take() else { return Poll::Ready(None) };
        let Some(departure) = self.departure.upgrade() else { return Poll::Ready(Some(Err(GivenUp))) };
        // An error says that it has left before, which no body does twice.
        let _ = departure.set(Left { at: Instant::now(), date: clock::now() });
        Poll::Ready(Some(Ok(Frame::data(json.as_bytes()))))
    }

    fn is_end_stream(&self) -> bool {
        self.json.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.json.map_or(0, str::len) as u64)
    }
}
