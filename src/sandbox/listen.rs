//! The listener and its connections: accepted, reset, refused for a while, and ended.
//!
//! Written out below `axum::serve`, which hides the connections that faults are about. It knows nothing of what
//! is answered.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{SetOnce, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http2;
use super::order::{Broken, Order};
use super::tls::{Greeted, Tls, is_http2};

/// In-flight answers have so long when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// After an error of the listener that is not of one connection, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: u32 = 1024;

/// What is served, and how.
pub(super) struct Host {
    pub(super) routes: Router,
    /// The record alone, for those who do not speak TLS where that is spoken.
    pub(super) record: Router,
    pub(super) tls: Option<Tls>,
}

/// The port, and when nobody listens there.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: std::net::TcpListener,
    pub(super) orders: watch::Sender<Order>,
    /// In order, as times since the first call.
    pub(super) refusals: Vec<Range<Duration>>,
    pub(super) first_call: Arc<SetOnce<Instant>>,
}

impl Listening {
    /// Serves until it is told to stop, and then lets in-flight calls have their answers for at most five seconds.
    pub(super) async fn serve(self, host: Host, stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let Self { listener, orders, refusals, first_call } = self;
        let address = listener.local_addr()?;
        let mut listener = TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        let mut stopped = pin!(stopped);
        let host = Arc::new(host);
        for refusal in refusals {
            let begins = async { tokio::time::sleep_until(moment(&first_call, refusal.start).await).await };
            tokio::select! {
                _ = &mut stopped => return finish(&orders, connections).await,
                () = accept(&listener, &host, &orders, &mut connections) => {}
                () = begins => {}
            }
            drop(listener);
            orders.send_replace(Order::Reset);
            let reserved = reserve(address)?;
            let ends = async { tokio::time::sleep_until(moment(&first_call, refusal.end).await).await };
            tokio::select! {
                _ = &mut stopped => return finish(&orders, connections).await,
                () = ends => {}
            }
            listener = reserved.listen(BACKLOG)?;
        }
        tokio::select! {
            _ = &mut stopped => {}
            () = accept(&listener, &host, &orders, &mut connections) => {}
        }
        drop(listener);
        finish(&orders, connections).await
    }
}

/// So long after the first call; far away where the sum is no moment.
async fn moment(first_call: &SetOnce<Instant>, after: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(24 * 365);
    *first_call.wait().await + after.min(FAR)
}

/// The port without a listener: it refuses connections, and nobody else can take it meanwhile.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts for ever.
async fn accept(
    listener: &TcpListener,
    host: &Arc<Host>,
    orders: &watch::Sender<Order>,
    connections: &mut JoinSet<()>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(host), orders.subscribe()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "the sandbox cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(stream: TcpStream, host: Arc<Host>, mut orders: watch::Receiver<Order>) {
    // Without it a small answer can wait for the client's acknowledgement; the call works all the same.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &host.tls else {
        return reset(serve_http1(stream, &host.routes, orders).await.as_ref());
    };
    let greeted = tokio::select! {
        greeted = tls.greet(stream) => greeted,
        Ok(_) = orders.wait_for(|&order| order != Order::Serve) => None,
    };
    match greeted {
        None => {}
        Some(Greeted::Plain(stream)) => reset(serve_http1(stream, &host.record, orders).await.as_ref()),
        Some(Greeted::Tls(stream)) if is_http2(&stream) => {
            let routes = TowerToHyperService::new(host.routes.clone());
            http2::serve(*stream, routes, tls.max_streams, orders).await;
        }
        Some(Greeted::Tls(stream)) => {
            let broken = serve_http1(stream, &host.routes, orders).await;
            reset(broken.as_ref().map(|stream| stream.get_ref().0));
        }
    }
}

/// Serves a connection to its end; returns it where it is to be reset.
async fn serve_http1<S>(stream: S, routes: &Router, mut orders: watch::Receiver<Order>) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(routes.clone());
    let service = service_fn(|request| {
        let answer = routes.call(request);
        async move { answer.await.map_or_else(|never| match never {}, unless_broken) }
    });
    // Answers have the date that the sandbox gives them, or none.
    let mut builder = http1::Builder::new();
    let mut connection = builder.auto_date_header(false).serve_connection(TokioIo::new(stream), service);
    let is_reset = loop {
        let order = tokio::select! {
            result = &mut connection => break result.is_err_and(|error| is_broken(&error)),
            Ok(()) = orders.changed() => *orders.borrow_and_update(),
        };
        match order {
            Order::Serve => {}
            Order::Reset => break true,
            Order::Finish => Pin::new(&mut connection).graceful_shutdown(),
        }
    };
    is_reset.then(|| connection.into_parts().io.into_inner())
}

/// What is dropped after this is reset.
fn reset(broken: Option<&TcpStream>) {
    if let Some(stream) = broken {
        // Where this fails the connection is closed without an answer, if not as rudely.
        let _ = stream.set_zero_linger();
    }
}

fn unless_broken(response: Response<Body>) -> Result<Response<Body>, Broken> {
    match response.extensions().get::<Broken>() {
        Some(&broken) => Err(broken),
        None => Ok(response),
    }
}

fn is_broken(error: &hyper::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<Broken>)
}

async fn finish(orders: &watch::Sender<Order>, mut connections: JoinSet<()>) -> io::Result<()> {
    orders.send_replace(Order::Finish);
    let finished = async { while connections.join_next().await.is_some() {} };
    // What is in flight after that is dropped with the runtime.
    let _ = tokio::time::timeout(GRACE, finished).await;
    Ok(())
}
