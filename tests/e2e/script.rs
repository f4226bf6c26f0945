//! An API that answers as a test tells it to, for what the sandbox never does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

mod gate;
mod http2;
mod speech;

use crate::dialect::{Dialect, number};
use crate::fixture::Fixture;
use crate::sandbox::Transport;

pub(crate) use gate::Gate;
pub(crate) use speech::{Speech, http_date, problem};

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
    /// The call that it answers makes the allocation.
    makes: bool,
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
    Answer { status, headers, body: body.into(), after: Duration::ZERO, makes: false }
}

pub(crate) fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, "application/json", body.to_string())
}

pub(crate) fn html(status: u16) -> Answer {
    answer(status, "text/html", "<html><h1>Something is wrong</h1></html>")
}

/// The documented error of v1.
pub(crate) fn error(status: u16, code: &str) -> Answer {
    Dialect::V1.error(status, code)
}

/// The documented success of v1, of an allocation made so many seconds ago.
pub(crate) fn success(status: u16, created: bool, age_s: i64) -> Answer {
    Dialect::V1.success(status, created, age_s)
}

/// What [`success`] says.
pub(crate) fn success_body(created: bool, age_s: i64) -> Value {
    Dialect::V1.success_body(created, age_s)
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    /// The number of its connection; over HTTP/1.1 nobody asks.
    pub(crate) connection: usize,
    /// The VM's number.
    pub(crate) vmid: String,
    pub(crate) request_line: String,
    /// In the order of arrival, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The key that it came with, in v1.
    pub(crate) fn key(&self) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == "x-api-key").map(|(_, key)| key.as_str())
    }

    /// Whether it only asks what is there.
    pub(crate) fn is_look(&self) -> bool {
        self.request_line.starts_with("GET ")
    }
}

/// One step, as a dialect has it.
pub(crate) type Play = fn(Dialect) -> Step;

/// By the request, and by how many steps its VM has had before.
type Steps = Box<dyn Fn(&Received, usize) -> Step + Send + Sync>;

/// What happens to each request, and which have come.
struct Script {
    dialect: Dialect,
    steps: Steps,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    received: Vec<Received>,
    /// How many steps each VM has had.
    taken: HashMap<String, usize>,
}

/// The server; it lasts as long as the test program.
pub(crate) struct Api {
    address: SocketAddr,
    script: Arc<Script>,
    certificate: Option<String>,
}

impl Api {
    /// In v1; `script` gets the VM's number and how many steps it has had before.
    pub(crate) fn start(script: impl Fn(&str, usize) -> Step + Send + Sync + 'static) -> Self {
        Self::of(Dialect::V1, script)
    }

    pub(crate) fn of(dialect: Dialect, script: impl Fn(&str, usize) -> Step + Send + Sync + 'static) -> Self {
        Self::speaking(dialect, Transport::Plain, script)
    }

    /// In v1; what happens to a request depends on all of it.
    pub(crate) fn to_each(script: impl Fn(&Received) -> Step + Send + Sync + 'static) -> Self {
        Self::serving(Dialect::V1, Transport::Plain, Box::new(move |request, _| script(request)))
    }

    pub(crate) fn speaking(
        dialect: Dialect,
        transport: Transport,
        script: impl Fn(&str, usize) -> Step + Send + Sync + 'static,
    ) -> Self {
        Self::serving(dialect, transport, Box::new(move |request, nth| script(&request.vmid, nth)))
    }

    /// Over HTTP/2, its certificate is one that vouches for itself.
    fn serving(dialect: Dialect, transport: Transport, steps: Steps) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script { dialect, steps, records: Mutex::default() });
        let (api, script) = (Arc::clone(&script), script);
        let certificate = match transport {
            Transport::Plain => {
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        let script = Arc::clone(&script);
                        std::thread::spawn(move || serve(stream, &script));
                    }
                });
                None
            }
            Transport::Http2 => {
                let (tls, certificate) = http2::tls();
                std::thread::spawn(move || http2::listen(listener, &tls, &script));
                Some(certificate)
            }
        };
        Self { address, script: api, certificate }
    }

    /// Whose runs call it, in its dialect and with a key.
    pub(crate) fn fixture(&self) -> Fixture {
        let mut fixture = Fixture::new().speaking(self.script.dialect).env("HOSTUP_API_KEY", "a-key");
        fixture.set("V6FLEET_BASE_URL", &self.base_url());
        if let Some(certificate) = &self.certificate {
            fixture.write("certificate.pem", certificate);
            fixture.set("V6FLEET_CA_FILE", "certificate.pem");
        }
        fixture
    }

    /// Whatever the VM, its requests are answered with these in turn, the last one again and again.
    pub(crate) fn of_scripts(
        dialect: Dialect,
        transport: Transport,
        scripts: HashMap<String, Vec<Play>>,
        otherwise: Play,
    ) -> Self {
        Self::speaking(dialect, transport, move |vmid, nth| match scripts.get(vmid) {
            Some(steps) => steps[nth.min(steps.len() - 1)](dialect),
            None => otherwise(dialect),
        })
    }

    pub(crate) fn base_url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.script.records.lock().unwrap().received.clone()
    }

    pub(crate) fn received_for(&self, vmid: &str) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.vmid == vmid).collect()
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read(&mut reader) {
        match script.step(request) {
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

impl Script {
    /// Notes a request, and says what happens to it.
    fn step(&self, request: Received) -> Step {
        let nth = self.note(&request);
        let step = (self.steps)(&request, nth);
        // Nobody makes anything by looking: that step is still to come.
        if request.is_look() && matches!(step, Step::Answer(Answer { makes: true, .. })) {
            self.records.lock().unwrap().taken.entry(request.vmid).and_modify(|taken| *taken -= 1);
            return self.dialect.nothing().into();
        }
        step
    }

    fn note(&self, request: &Received) -> usize {
        let mut records = self.records.lock().unwrap();
        let taken = records.taken.entry(request.vmid.clone()).or_default();
        let nth = *taken;
        *taken += 1;
        records.received.push(request.clone());
        nth
    }
}

/// The number of the VM that a path is about.
fn vmid_of(path: &str) -> String {
    let vmid = path.strip_suffix("/routed-ipv6").and_then(|path| path.rsplit('/').next());
    number(vmid.unwrap_or_default()).to_owned()
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
