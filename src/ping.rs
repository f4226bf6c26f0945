//! A monitor that is told when a job begins and how it ended, as healthchecks and its kind take it.
//!
//! It is never waited for while the job has work to do, and little at its end; what goes wrong is a warning and nothing
//! else. The address may itself be a secret and is in no message.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tracing::{debug, warn};

use crate::api::{BaseUrl, ClientError, ProxyUrl, client};

/// Of one attempt.
const TIMEOUT: Duration = Duration::from_secs(3);

const ATTEMPTS: u32 = 2;

/// How the monitor is reached: over the same proxy as the API, and with the same certificates.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    pub url: &'a BaseUrl,
    pub proxy: Option<&'a ProxyUrl>,
    pub extra_roots: Option<&'a [u8]>,
}

/// The monitor of a job that has begun.
#[derive(Debug)]
pub struct Ping {
    end: Sender<End>,
    /// Closed once the monitor has been told of the end.
    told: Receiver<()>,
}

#[derive(Debug)]
struct End {
    exit_code: u8,
    recap: String,
}

impl Ping {
    /// Tells the monitor that a job begins, without waiting for it.
    pub fn begin(route: Route<'_>) -> Result<Self, ClientError> {
        let client = client(route.url, route.proxy, route.extra_roots)?.timeout(TIMEOUT);
        // By the end of a long job the monitor has closed any connection that was kept.
        let client = client.pool_max_idle_per_host(0).build().map_err(ClientError::Client)?;
        let url = route.url.as_str().to_owned();
        let ((end, ending), (done, told)) = (channel(), channel());
        let monitor = move || {
            watch(&client, &url, &ending);
            drop(done);
        };
        if let Err(error) = thread::Builder::new().name("ping".into()).spawn(monitor) {
            warn!(%error, "the monitor is not told of this job");
        }
        Ok(Self { end, told })
    }

    /// Tells the monitor how the job ended, and waits for as long as one try and another may take.
    pub fn end(self, exit_code: u8, recap: String) {
        // Without a thread there is nobody to be told, and nothing to be waited for.
        let _ = self.end.send(End { exit_code, recap });
        let _ = self.told.recv_timeout(TIMEOUT * ATTEMPTS);
    }
}

/// Tells the monitor of the beginning, and of the end when that is known.
fn watch(client: &Client, url: &str, ending: &Receiver<End>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return warn!(%error, "the monitor is not told of this job"),
    };
    runtime.block_on(tell(client, format!("{url}/start"), String::new()));
    if let Ok(End { exit_code, recap }) = ending.recv() {
        runtime.block_on(tell(client, address(url, exit_code), recap));
    }
}

/// Where the monitor wants to hear of an exit code.
fn address(url: &str, exit_code: u8) -> String {
    match exit_code {
        0 => url.to_owned(),
        code => format!("{url}/{code}"),
    }
}

async fn tell(client: &Client, address: String, body: String) {
    let mut failure = String::new();
    for _ in 0..ATTEMPTS {
        match client.post(&address).body(body.clone()).send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => return debug!("the monitor was told"),
            Ok(status) => failure = said(status),
            Err(error) => failure = in_words(&error.without_url()),
        }
    }
    warn!(error = failure, "the monitor could not be told; the run is as it is");
}

fn said(status: StatusCode) -> String {
    format!("it answered {}", status.as_u16())
}

/// An error with its causes: the outermost alone says little.
fn in_words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", in_words(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_has_the_address_itself_and_every_failure_its_code() {
        let addresses = [0, 3, 143].map(|exit_code| address("https://hc.example/uuid", exit_code));
        let expected =
            ["https://hc.example/uuid", "https://hc.example/uuid/3", "https://hc.example/uuid/143"];
        assert_eq!(addresses, expected);
    }
}
