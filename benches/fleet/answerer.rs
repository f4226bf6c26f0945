//! The least that can answer our calls: a loopback server that does next to nothing, so that it is not what is measured.
//!
//! It has a core to itself and notes when each call arrived. It answers HTTP/1.1 with keep-alive, and nothing else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::core::{self, Core};
use crate::fleet;

/// Every call is answered like the documentation's example, with a rack (`##`) and a prefix (`@`) of the VM's own.
const BODY: &str = concat!(
    r#"{"success":true,"timestamp":"2026-03-01T00:00:00.000Z","requestId":"2121ae20-bd9d-41e9-aeeb-5dd1dd1a24ba","#,
    r#""data":{"created":false,"allocation":{"id":3,"rack_id":"r##","client_id":"30000","account_id":"20000","#,
    r#""proxmox_vm_id":"10048","prefix":"2001:db8:@@@@:@@@@::/64","prefix_length":64,"next_hop":"2001:db8::1","#,
    r#""status":"active","allocated_at":"2026-02-10 00:00:00.658429+00","released_at":null,"cooldown_until":null,"#,
    r#""metadata":{"updatedAt":"2026-02-10T00:00:00.000Z","updatedBy":"1"},"#,
    r#""created_at":"2026-02-10 00:00:00.658429+00","updated_at":"2026-02-10 00:00:00.658429+00"}}}"#
);

/// Requests are far smaller; whatever is pipelined beyond it waits in the socket.
const BUFFER: usize = 8192;

type Arrivals = Arc<Mutex<Vec<Instant>>>;

/// Runs until it is stopped.
pub(crate) struct Answerer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Answerer {
    /// Answers each call `latency` after it arrived.
    pub(crate) fn start(latency: Duration) -> Self {
        let (told, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            core::pin(Core::Server);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, latency, stopped).await
            })
        });
        Self { address: address.recv().unwrap(), stop, thread }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// When each call arrived, in order.
    pub(crate) fn stop(self) -> Vec<Instant> {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

async fn serve(listener: TcpListener, latency: Duration, mut stopped: oneshot::Receiver<()>) -> Vec<Instant> {
    let answer = answer();
    let arrivals = Arrivals::default();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(converse(stream, latency, answer.clone(), arrivals.clone()));
            }
        }
    }
    std::mem::take(&mut arrivals.lock().unwrap())
}

fn answer() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{BODY}", BODY.len()).into_bytes()
}

/// Answers what comes over one connection until that is closed.
async fn converse(mut stream: TcpStream, latency: Duration, mut answer: Vec<u8>, arrivals: Arrivals) {
    let places = |mark| (0..answer.len()).filter(|&at| answer[at] == mark).collect::<Vec<_>>();
    let (digits, rack_digits) = (places(b'@'), places(b'#'));
    let (mut buffer, mut length) = ([0; BUFFER], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer[length..]).await {
        length += read;
        let mut begun = 0;
        while let Some(request) = Request::first_of(&buffer[begun..length]) {
            arrivals.lock().unwrap().push(Instant::now());
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            for (&at, shift) in digits.iter().zip((0..8).rev()) {
                answer[at] = b"0123456789abcdef"[request.vmid >> (4 * shift) & 15];
            }
            let rack = fleet::rack(request.vmid);
            for (&at, digit) in rack_digits.iter().zip([rack / 10, rack % 10]) {
                answer[at] = b"0123456789"[digit];
            }
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            begun += request.length;
        }
        buffer.copy_within(begun..length, 0);
        length -= begun;
    }
}

struct Request {
    vmid: usize,
    /// Head and body, in bytes.
    length: usize,
}

impl Request {
    /// The first request in `bytes`, where it is there whole.
    fn first_of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let text = &bytes[..head];
        let length =
            head + number_after(text, b"ontent-length: ").or(number_after(text, b"ontent-Length: "))?;
        (bytes.len() >= length)
            .then(|| Self { vmid: number_after(text, b"/vm/").unwrap_or_default(), length })
    }
}

/// The decimal number that follows `name`.
fn number_after(text: &[u8], name: &[u8]) -> Option<usize> {
    let begun = text.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = text[begun..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}
