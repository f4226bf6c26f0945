//! Somebody who is told of a job: one text, posted, and tried once more. What goes wrong is a warning and nothing else.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use tokio::runtime::{Builder, Runtime};
use tracing::{debug, warn};

use super::route::Route;
use crate::api::{BaseUrl, ClientError, client};

/// Of one attempt.
const TIMEOUT: Duration = Duration::from_secs(3);

const ATTEMPTS: u32 = 2;

/// The longest that one text takes.
pub(super) const PATIENCE: Duration = TIMEOUT.saturating_mul(ATTEMPTS);

/// Who is told, and how they are reached.
#[derive(Debug)]
pub(super) struct Listener {
    client: Client,
    /// As people know them; no part of it is a secret.
    name: String,
    content_type: &'static str,
}

impl Listener {
    pub(super) fn new(
        url: &BaseUrl,
        route: Route<'_>,
        name: String,
        content_type: &'static str,
    ) -> Result<Self, ClientError> {
        let client = client(url, route.proxy, route.extra_roots)?.timeout(TIMEOUT);
        // By the end of a long job they have closed any connection that was kept.
        let client = client.pool_max_idle_per_host(0).build().map_err(ClientError::Client)?;
        Ok(Self { client, name, content_type })
    }

    pub(super) async fn tell(&self, address: String, body: String) {
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let post = self.client.post(&address).header(CONTENT_TYPE, self.content_type).body(body.clone());
            match post.send().await.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => return debug!("{} was told", self.name),
                Ok(status) => failure = said(status),
                Err(error) => failure = in_words(&error.without_url()),
            }
        }
        warn!(error = failure, "{} could not be told; the run is as it is", self.name);
    }
}

/// Does `work` on a thread of its own. What is returned is closed once it is done; `name` is who hears of it.
pub(super) fn apart(name: &str, work: impl FnOnce(&Runtime) + Send + 'static) -> Receiver<()> {
    let (done, told) = channel::<()>();
    let tell = move || {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                work(&runtime);
                // A look-up of a name that hangs keeps nobody.
                runtime.shutdown_background();
            }
            Err(error) => warn!(%error, "nobody is told of this job"),
        }
        drop(done);
    };
    if let Err(error) = thread::Builder::new().name("ping".into()).spawn(tell) {
        warn!(%error, "{name} is not told of this job");
    }
    told
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
