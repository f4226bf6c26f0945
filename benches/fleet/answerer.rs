//! The least that can answer our calls: a loopback server that does next to nothing, so that it is not what is measured.
//!
//! It has a core to itself and notes when each call arrived. It answers HTTP/1.1 with keep-alive, and nothing else. No
//! answer is like another: each has an id and the time of its own, and each VM its rack, its ids and its prefix.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::arrivals::Arrivals;
use crate::core::{self, Core};
use crate::fleet::Racks;

/// As the first argument: be the server alone, for a profile of its clients, until killed. Behind it the port, the latency
/// in milliseconds, and the fleet's VMs and racks.
pub(crate) const WORD: &str = "server";

/// Every call is answered like the documentation's example, its blanks filled in.
const BODY: &str = concat!(
    r#"{"success":true,"timestamp":"~~~~~~~~~~~~~~~~~~~~~~~~","requestId":"2121ae20-bd9d-41e9-aeeb-%%%%%%%%%%%%","#,
    r#""data":{"created":false,"allocation":{"id":1$$$$$$$,"rack_id":"r####","client_id":"30000","#,
    r#""account_id":"20000","proxmox_vm_id":"1&&&&&&&","prefix":"2001:db8:@@@@:@@@@::/64","prefix_length":64,"#,
    r#""next_hop":"2001:db8::1","status":"active","allocated_at":"2026-02-10 00:00:00.658429+00","#,
    r#""released_at":null,"cooldown_until":null,"#,
    r#""metadata":{"updatedAt":"2026-02-10T00:00:00.000Z","updatedBy":"1"},"#,
    r#""created_at":"2026-02-10 00:00:00.658429+00","updated_at":"2026-02-10 00:00:00.658429+00"}}}"#
);

/// Requests are far smaller; whatever is pipelined beyond it waits in the socket.
const BUFFER: usize = 8192;

/// What the process of [`WORD`] does.
pub(crate) fn run(args: impl Iterator<Item = String>) {
    let numbers: Vec<usize> = args.map(|number| number.parse().unwrap()).collect();
    let [port, latency, vms, racks] = numbers.try_into().unwrap();
    let latency = Duration::from_millis(latency.try_into().unwrap());
    let server = Answerer::start(port.try_into().unwrap(), latency, Racks::new(vms, racks));
    println!("{}", server.base_url());
    drop(server.thread.join());
}

/// Runs until it is stopped.
pub(crate) struct Answerer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Arrivals>,
}

impl Answerer {
    /// Answers each call `latency` after it arrived.
    pub(crate) fn start(port: u16, latency: Duration, racks: Racks) -> Self {
        let (told, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            core::pin(Core::Server);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, latency, racks, stopped).await
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

    /// When each call arrived, since the server's start.
    pub(crate) fn stop(self) -> Arrivals {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

async fn serve(
    listener: TcpListener,
    latency: Duration,
    racks: Racks,
    mut stopped: oneshot::Receiver<()>,
) -> Arrivals {
    let begun = Instant::now();
    let arrivals = Arc::new(Mutex::new(Arrivals::new()));
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                stream.set_nodelay(true).unwrap();
                let arrivals = arrivals.clone();
                let arrived = move || {
                    let mut arrivals = arrivals.lock().unwrap();
                    arrivals.push(u32::try_from(begun.elapsed().as_micros()).unwrap());
                    arrivals.len()
                };
                tokio::spawn(converse(stream, latency, racks, arrived));
            }
        }
    }
    std::mem::take(&mut arrivals.lock().unwrap())
}

/// Answers what comes over one connection until that is closed; `arrived` notes a call, and numbers it.
async fn converse(mut stream: TcpStream, latency: Duration, racks: Racks, arrived: impl Fn() -> usize) {
    let mut answer = Answer::blank();
    let (mut buffer, mut length) = ([0; BUFFER], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer[length..]).await {
        length += read;
        let mut begun = 0;
        while let Some(request) = Request::first_of(&buffer[begun..length]) {
            let call = arrived();
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            if stream.write_all(answer.filled_in(call, request.vmid, racks)).await.is_err() {
                return;
            }
            begun += request.length;
        }
        buffer.copy_within(begun..length, 0);
        length -= begun;
    }
}

/// A connection's answer, filled in again for each call.
struct Answer {
    bytes: Vec<u8>,
    time: Range<usize>,
    call: Range<usize>,
    id: Range<usize>,
    rack: Range<usize>,
    proxmox: Range<usize>,
    prefix: [Range<usize>; 2],
}

impl Answer {
    fn blank() -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let text = format!("{head}content-length: {}\r\n\r\n{BODY}", BODY.len());
        let blank = |mark| {
            let begin = text.find(mark).unwrap();
            begin..begin + text[begin..].bytes().take_while(|&byte| char::from(byte) == mark).count()
        };
        let high = blank('@');
        let low = high.end + 1..high.end + 1 + high.len();
        Self {
            time: blank('~'),
            call: blank('%'),
            id: blank('$'),
            rack: blank('#'),
            proxmox: blank('&'),
            prefix: [high, low],
            bytes: text.into_bytes(),
        }
    }

    fn filled_in(&mut self, call: usize, vmid: usize, racks: Racks) -> &[u8] {
        let now = format!("{:.3}", Timestamp::now());
        self.bytes[self.time.clone()].copy_from_slice(now.as_bytes());
        let [high, low] = self.prefix.clone();
        for (blank, number, base) in [
            (self.call.clone(), call, 10),
            (self.id.clone(), vmid, 10),
            (self.rack.clone(), racks.of(vmid), 10),
            (self.proxmox.clone(), vmid, 10),
            (high, vmid >> 16, 16),
            (low, vmid, 16),
        ] {
            write_digits(&mut self.bytes[blank], number, base);
        }
        &self.bytes
    }
}

/// The last digits of a number.
fn write_digits(digits: &mut [u8], mut number: usize, base: usize) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[number % base];
        number /= base;
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
