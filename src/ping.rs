//! Who is told of a job: a monitor when it begins and how it ended, as healthchecks and its kind take it, and webhooks how
//! it ended.
//!
//! They are never waited for while the job has work to do, and little at its end; what goes wrong is a warning and nothing
//! else. Their addresses may themselves be secrets, and are in no message.

mod listener;
mod notice;
mod route;

use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::Runtime;

use crate::api::{BaseUrl, ClientError};
use listener::{Listener, PATIENCE, apart};
pub use notice::Notice;
pub use route::Route;

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
    pub fn begin(url: &BaseUrl, route: Route<'_>) -> Result<Self, ClientError> {
        let monitor = Listener::new(url, route, "the monitor".to_owned(), "text/plain; charset=utf-8")?;
        let url = url.as_str().to_owned();
        let (end, ending) = channel();
        let told = apart("the monitor", move |runtime| watch(runtime, &monitor, &url, &ending));
        Ok(Self { end, told })
    }

    /// Tells the monitor how the job ended, and waits for as long as one try and another may take.
    pub fn end(self, exit_code: u8, recap: String) {
        // Without a thread there is nobody to be told, and nothing to be waited for.
        let _ = self.end.send(End { exit_code, recap });
        let _ = self.told.recv_timeout(PATIENCE);
    }
}

/// Tells the monitor of the beginning, and of the end when that is known.
fn watch(runtime: &Runtime, monitor: &Listener, url: &str, ending: &Receiver<End>) {
    runtime.block_on(monitor.tell(format!("{url}/start"), String::new()));
    if let Ok(End { exit_code, recap }) = ending.recv() {
        runtime.block_on(monitor.tell(address(url, exit_code), recap));
    }
}

/// Where the monitor wants to hear of an exit code.
fn address(url: &str, exit_code: u8) -> String {
    match exit_code {
        0 => url.to_owned(),
        code => format!("{url}/{code}"),
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
