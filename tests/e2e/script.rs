//! An API that answers as a test tells it to, for what the sandbox never does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

mod http2;

use crate::sandbox::Transport;

/// What happens to one call.
#[derive(Debug)]
pub(crate) enum Step {
    Answer(Answer),
    /// These bytes, then the connection is closed; over HTTP/2, as much of an answer as they are, and a reset.
    Cut(Vec<u8>),
    /// These bytes and no more, and the connection stays open.
    Stall(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    after: Duration,
}

impl Answer {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut head =
            format!("HTTP/1.1 {} Whatever\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head.extend([*name, ": ", value, "\r\n"]);
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// All but the last `bytes` of the answer.
    pub(crate) fn without(&self, bytes: usize) -> Vec<u8> {
        let mut whole = self.to_bytes();
        whole.truncate(whole.len() - bytes);
        whole
    }
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

pub(crate) fn answer(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
    let headers = vec![("content-type", content_type.to_owned())];
    Answer { status, headers, body: body.into(), after: Duration::ZERO }
}

pub(crate) fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, "application/json", body.to_string())
}

pub(crate) fn html(status: u16) -> Answer {
    answer(status, "text/html", "<html><h1>Something is wrong</h1></html>")
}

/// The documented error of v1.
pub(crate) fn error(status: u16, code: &str) -> Answer {
    let body = json!({
        "error": "Error", "message": format!("it is {code}"), "code": code,
        "timestamp": Timestamp::now().to_string(), "requestId": "r-1",
    });
    json_answer(status, &body)
}

/// The documented success, of an allocation made so many seconds ago.
pub(crate) fn success(status: u16, created: bool, age_s: i64) -> Answer {
    json_answer(status, &success_body(created, age_s))
}

pub(crate) fn success_body(created: bool, age_s: i64) -> Value {
    let now = Timestamp::now();
    let at = now - SignedDuration::from_secs(age_s);
    let postgresql = at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string();
    json!({
        "success": true, "timestamp": now.to_string(), "requestId": "r-2",
        "data": { "created": created, "allocation": {
            "id": 3, "rack_id": "dc1r28", "client_id": "30000", "account_id": "20000", "proxmox_vm_id": "10048",
            "prefix": "2001:db8::1/48", "prefix_length": 48, "next_hop": "2001:db8::1", "status": "active",
            "allocated_at": postgresql, "released_at": null, "cooldown_until": null,
            "metadata": { "updatedAt": at.to_string(), "updatedBy": "1" },
            "created_at": postgresql, "updated_at": postgresql,
        }},
    })
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    /// The number of its connection; over HTTP/1.1 nobody asks.
    pub(crate) connection: usize,
    pub(crate) vmid: String,
    pub(crate) request_line: String,
    /// In the order of arrival, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

type Script = Box<dyn Fn(&str, usize) -> Step + Send + Sync>;

/// The server; it lasts as long as the test program.
pub(crate) struct Api {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    certificate: Option<String>,
}

impl Api {
    /// `script` gets the VM and how many calls for it came before.
    pub(crate) fn start(script: impl Fn(&str, usize) -> Step + Send + Sync + 'static) -> Self {
        Self::speaking(Transport::Plain, script)
    }

    /// Over HTTP/2, its certificate is one that vouches for itself.
    pub(crate) fn speaking(
        transport: Transport,
        script: impl Fn(&str, usize) -> Step + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(Box::new(script));
        let records = Arc::clone(&received);
        let certificate = match transport {
            Transport::Plain => {
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        let (script, records) = (Arc::clone(&script), Arc::clone(&records));
                        std::thread::spawn(move || serve(stream, &script, &records));
                    }
                });
                None
            }
            Transport::Http2 => {
                let (tls, certificate) = http2::tls();
                std::thread::spawn(move || http2::listen(listener, &tls, &script, &records));
                Some(certificate)
            }
        };
        Self { address, received, certificate }
    }

    /// The certificate that vouches for it, as PEM.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Whatever the VM, its calls are answered with these in turn, the last one again and again.
    pub(crate) fn of_scripts(
        transport: Transport,
        scripts: HashMap<String, Vec<fn() -> Step>>,
        otherwise: fn() -> Step,
    ) -> Self {
        Self::speaking(transport, move |vmid, nth| match scripts.get(vmid) {
            Some(steps) => steps[nth.min(steps.len() - 1)](),
            None => otherwise(),
        })
    }

    pub(crate) fn base_url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn received_for(&self, vmid: &str) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.vmid == vmid).collect()
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, script: &Script, records: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read(&mut reader) {
        match next_step(request, script, records) {
            Step::Answer(answer) => {
                std::thread::sleep(answer.after);
                if writer.write_all(&answer.to_bytes()).is_err() {
                    return;
                }
            }
            Step::Cut(bytes) => {
                let _ = writer.write_all(&bytes);
                return;
            }
            Step::Stall(bytes) => {
                let _ = writer.write_all(&bytes).and_then(|()| reader.read(&mut [0]));
                return;
            }
        }
    }
}

/// Notes a request; the script says what happens to it.
fn next_step(request: Received, script: &Script, records: &Mutex<Vec<Received>>) -> Step {
    let vmid = request.vmid.clone();
    let nth = {
        let mut records = records.lock().unwrap();
        records.push(request);
        records.iter().filter(|earlier| earlier.vmid == vmid).count() - 1
    };
    script(&vmid, nth)
}

fn vmid_of(path: &str) -> String {
    let vmid = path.strip_suffix("/routed-ipv6").and_then(|path| path.rsplit('/').next());
    vmid.unwrap_or_default().to_owned()
}

fn read(reader: &mut impl BufRead) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        let read = reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let request_line = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        match line.split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    let vmid = vmid_of(request_line.split(' ').nth(1)?);
    Some(Received { at: Instant::now(), connection: 0, vmid, request_line, headers, body })
}
