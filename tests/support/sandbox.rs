//! `v6fleet sandbox` as a process of its own: what it is told and what it has seen.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dialect::number;
use crate::fixture::{binary, eventually};

/// What the program and the sandbox speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/2 over TLS.
    Http2,
}

/// Killed with the test.
pub struct Sandbox {
    child: Child,
    address: SocketAddr,
    /// Where the certificate is that vouches for it, if it speaks TLS.
    ca_file: Option<PathBuf>,
}

/// One line of the sandbox's record.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Timestamp,
    /// `v1` or `v2`.
    pub dialect: String,
    /// `call`, `look` or `list`.
    pub kind: String,
    /// The VM's number; empty for a list.
    pub vmid: String,
    pub action: String,
    /// The protocol's version: `1` or `2`.
    pub http: String,
    /// 0 where the call was not to be answered.
    pub status: u64,
    pub took_effect: bool,
    pub created: bool,
    /// What went wrong with it.
    pub fault: Option<String>,
    /// An answer left, or its beginning.
    pub answered: bool,
}

/// The first call for a VM for which an earlier one had taken effect: in one run there is none where v2 is spoken,
/// whatever became of the answer.
pub fn asked_twice<'a>(record: impl IntoIterator<Item = &'a Call>) -> Option<&'a Call> {
    let mut done = HashSet::new();
    record.into_iter().filter(|call| call.kind == "call").find(|call| {
        let is_done = done.contains(&call.vmid);
        if call.took_effect {
            done.insert(&call.vmid);
        }
        is_done
    })
}

impl Sandbox {
    pub fn start(args: &[&str]) -> Self {
        Self::speaking(Transport::Plain, args)
    }

    pub fn speaking(transport: Transport, args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["sandbox", "--listen", "127.0.0.1:0"]).args(args).env_clear().stdout(Stdio::piped());
        if transport == Transport::Http2 {
            command.arg("--tls");
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let (scheme, ca_file) = match transport {
            Transport::Plain => ("http", false),
            Transport::Http2 => ("https", true),
        };
        let listening = lines.next().unwrap();
        let address = listening.strip_prefix(&format!("listening on {scheme}://")).unwrap().parse().unwrap();
        let ca_file =
            ca_file.then(|| lines.next().unwrap().strip_prefix("CA certificate in ").unwrap().into());
        Self { child, address, ca_file }
    }

    pub fn base_url(&self) -> String {
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Every call so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.lines("/_sandbox/calls")
            .iter()
            .map(|line| Call {
                at: line["at"].as_str().unwrap().parse().unwrap(),
                dialect: line["dialect"].as_str().unwrap().to_owned(),
                kind: line["kind"].as_str().unwrap().to_owned(),
                vmid: number(line["vmid"].as_str().unwrap_or_default()).to_owned(),
                action: line["action"].as_str().unwrap_or_default().to_owned(),
                http: line["http"].as_str().unwrap().to_owned(),
                status: line["status"].as_u64().unwrap_or_default(),
                took_effect: line["took_effect"].as_bool().unwrap(),
                created: line["created"].as_bool().unwrap(),
                fault: line["fault"].as_str().map(str::to_owned),
                answered: line["answered"].as_bool().unwrap(),
            })
            .collect()
    }

    pub fn called_vmids(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.vmid).collect()
    }

    /// Waits until so many calls have arrived.
    pub fn await_calls(&self, calls: usize) {
        eventually("enough calls arrive", || self.calls().len() >= calls);
    }

    pub fn allocations(&self) -> Vec<Value> {
        self.lines("/_sandbox/allocations")
    }

    /// Maintenance of a rack.
    pub fn set_next_hop(&self, rack: &str, next_hop: &str) {
        self.change_rack(rack, &json!({ "next_hop": next_hop }));
    }

    /// Puts VMs on a rack, before they are called.
    pub fn place(&self, rack: &str, vmids: &[&str]) {
        self.change_rack(rack, &json!({ "vmids": vmids }));
    }

    /// What it says of a VM from now on, in the fields of a world file.
    pub fn set_vm(&self, vmid: &str, facts: &Value) {
        self.change(&format!("/_sandbox/vms/{vmid}"), facts);
    }

    /// What goes wrong with every call for a rack's VMs from now on; `None` mends it.
    pub fn set_fault(&self, rack: &str, fault: Option<&str>) {
        self.change("/_sandbox/faults", &json!({ "rack": rack, "fault": fault }));
    }

    /// Sets the clock that it shows by so much, such as `-5s`.
    pub fn step_clock(&self, by: &str) {
        self.change("/_sandbox/clock", &json!({ "step": by }));
    }

    fn change_rack(&self, rack: &str, change: &Value) {
        self.change(&format!("/_sandbox/racks/{rack}"), change);
    }

    fn change(&self, path: &str, change: &Value) {
        let (status, body) = self.send("POST", path, &change.to_string());
        assert_eq!(status, 200, "{body}");
    }

    fn lines(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.send("GET", path, "");
        assert_eq!(status, 200, "{body}");
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// HTTP/1.0, so that the answer ends with the connection; the record needs no TLS.
    fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let request = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What is killed leaves its temporary file behind.
        if let Some(ca_file) = &self.ca_file {
            let _ = std::fs::remove_file(ca_file);
        }
    }
}
