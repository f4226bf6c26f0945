//! One HTTP/2 connection: a stream for each call, and the ways in which streams and connections end.
//!
//! Written out on the protocol's own level, below hyper's server, which hides the streams and frames that faults are
//! about. What is cut off is cut between two answers: all that were handed over leave whole.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, stream};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::order::{Broken, Order};
use super::tls::TlsStream;

type Bytes = axum::body::Bytes;
type Routes = TowerToHyperService<Router>;

/// Which streams of a connection were looked at, and from which on none will be.
#[derive(Debug, Default)]
struct Gate {
    /// The highest stream that was looked at.
    seen: u32,
    /// The last stream that will be, once the client has been told.
    last: Option<u32>,
}

/// The stream that a request came on: one of its extensions.
#[derive(Debug, Clone)]
pub(super) struct StreamNo {
    id: u32,
    gate: Arc<Mutex<Gate>>,
}

impl StreamNo {
    /// Whether the call is to be looked at; a `GOAWAY` may have told the client that it is not.
    pub(super) fn begins(&self) -> bool {
        let mut gate = self.gate();
        let begins = gate.last.is_none_or(|last| self.id <= last);
        if begins {
            gate.seen = gate.seen.max(self.id);
        }
        begins
    }

    /// Nothing of this stream was done, nor will be of later ones: returns the last stream of which something was or
    /// will be. That is an earlier one, unless later ones were looked at already.
    fn closes(&self) -> u32 {
        let mut gate = self.gate();
        let last = if gate.seen == self.id { self.id.saturating_sub(2) } else { gate.seen };
        *gate.last.get_or_insert(last)
    }

    /// A panic under the lock leaves two numbers as they were.
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What befalls the connection as a whole.
enum Fate {
    Reset,
    Silence,
    /// The stream is held: dropped, it would be reset for itself.
    GoAway {
        last: u32,
        stream: SendResponse<Bytes>,
    },
}

type Calls = FuturesUnordered<Pin<Box<dyn Future<Output = Option<Fate>> + Send>>>;

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TlsStream,
    routes: Routes,
    max_streams: Option<u32>,
    mut orders: watch::Receiver<Order>,
) {
    let lever = Arc::<Mutex<Lever>>::default();
    let mut builder = h2::server::Builder::new();
    if let Some(streams) = max_streams {
        builder.max_concurrent_streams(streams);
    }
    let wire = Wire { stream, lever: Arc::clone(&lever) };
    let Ok(mut connection) = builder.handshake(wire).await else { return };
    let mut calls = Calls::new();
    match serve_until_fate(&mut connection, &mut calls, &routes, &mut orders).await {
        None => {}
        Some(Fate::Reset) => {
            flush(&mut connection);
            pull(&lever).reset = true;
        }
        Some(Fate::Silence) => {
            flush(&mut connection);
            // An error says that nobody is left to give orders.
            let _ = orders.wait_for(|&order| order != Order::Serve).await;
        }
        Some(Fate::GoAway { last, stream }) => {
            pull(&lever).frame.extend(go_away(last));
            take_leave(&mut connection, &mut calls, stream, orders).await;
        }
    }
}

/// `None` where the client ends it, or it has finished.
async fn serve_until_fate(
    connection: &mut Connection<Wire, Bytes>,
    calls: &mut Calls,
    routes: &Routes,
    orders: &mut watch::Receiver<Order>,
) -> Option<Fate> {
    let gate = Arc::<Mutex<Gate>>::default();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let (request, respond) = accepted?.ok()?;
                let number = StreamNo { id: respond.stream_id().as_u32(), gate: Arc::clone(&gate) };
                calls.push(Box::pin(converse(routes.clone(), request, respond, number)));
            }
            Some(fate) = calls.next() => if fate.is_some() { return fate },
            Ok(()) = orders.changed() => match *orders.borrow_and_update() {
                Order::Serve => {}
                Order::Reset => return Some(Fate::Reset),
                Order::Finish => connection.graceful_shutdown(),
            },
        }
    }
}

/// Answers the calls that there are, and ignores later ones, until the client closes: closed with something unread, a
/// connection is reset, and what was said is lost.
async fn take_leave(
    connection: &mut Connection<Wire, Bytes>,
    calls: &mut Calls,
    stream: SendResponse<Bytes>,
    mut orders: watch::Receiver<Order>,
) {
    // A stream that is dropped is reset: these are past the last one, and nothing more is said of them.
    let mut ignored = vec![stream];
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((_, late))) => ignored.push(late),
                Some(Err(_)) | None => return,
            },
            Some(_) = calls.next() => {}
            Ok(()) = orders.changed() => return,
        }
    }
}

/// Everything that was handed over leaves, as far as the socket takes it.
fn flush(connection: &mut Connection<Wire, Bytes>) {
    let _ = connection.accept().now_or_never();
}

/// One call: its answer, or what it does to the connection.
async fn converse(
    routes: Routes,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    number: StreamNo,
) -> Option<Fate> {
    let mut request = request.map(|body| Body::from_stream(stream::try_unfold(body, next_chunk)));
    request.extensions_mut().insert(number.clone());
    let response = tokio::select! {
        biased;
        response = routes.call(request) => response.unwrap_or_else(|never| match never {}),
        // The client does not want it any longer.
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return None,
    };
    match response.extensions().get::<Broken>() {
        None => {
            // An error says that there is nobody left to be answered.
            let _ = answer(response, respond).await;
            None
        }
        Some(Broken::Stream) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            None
        }
        Some(Broken::Refused) => {
            respond.send_reset(Reason::REFUSED_STREAM);
            None
        }
        Some(Broken::Connection) => Some(Fate::Reset),
        Some(Broken::Silence) => Some(Fate::Silence),
        Some(Broken::GoAway) => {
            let last = number.closes();
            if number.id <= last {
                respond.send_reset(Reason::REFUSED_STREAM);
            }
            Some(Fate::GoAway { last, stream: respond })
        }
    }
}

async fn next_chunk(mut body: RecvStream) -> Result<Option<(Bytes, RecvStream)>, h2::Error> {
    let Some(chunk) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(chunk.len())?;
    Ok(Some((chunk, body)))
}

async fn answer(response: Response<Body>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (parts, body) = response.into_parts();
    let mut stream = respond.send_response(Response::from_parts(parts, ()), false)?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => send(&mut stream, chunk).await?,
            Err(_) => {
                // A reset overtakes what has not left yet.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
        }
    }
    stream.send_data(Bytes::new(), true)
}

async fn send(stream: &mut SendStream<Bytes>, mut chunk: Bytes) -> Result<(), h2::Error> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(room) => stream.send_data(chunk.split_to(room?.min(chunk.len())), false)?,
            None => return Err(Reason::CANCEL.into()),
        }
    }
    Ok(())
}

/// A `GOAWAY` without an error: streams up to `last` are answered, later ones were not looked at.
fn go_away(last: u32) -> [u8; 17] {
    let mut frame = [0; 17];
    frame[..9].copy_from_slice(&[0, 0, 8, 7, 0, 0, 0, 0, 0]);
    frame[9..13].copy_from_slice(&last.to_be_bytes());
    frame
}

/// What is done to a connection over the head of its protocol.
#[derive(Debug, Default)]
struct Lever {
    /// Sent between two frames.
    frame: Vec<u8>,
    /// Its end is a reset.
    reset: bool,
}

fn pull(lever: &Mutex<Lever>) -> MutexGuard<'_, Lever> {
    lever.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's bytes, with a lever.
struct Wire {
    stream: TlsStream,
    lever: Arc<Mutex<Lever>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// All frames that there were have been written now.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, lever } = self.get_mut();
        let mut lever = pull(lever);
        while !lever.frame.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &lever.frame))?;
            lever.frame.drain(..written);
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if pull(&self.lever).reset {
            // Where this fails the connection is closed, if not as rudely.
            let _ = self.stream.get_ref().0.set_zero_linger();
        }
    }
}
