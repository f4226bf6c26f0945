//! The webhooks that are told how a job ended: those of chat programs, say.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use tokio::task::JoinSet;
use tracing::warn;

use super::listener::{Listener, PATIENCE, apart};
use super::route::Route;
use crate::api::WebhookUrl;

/// A notice on its way to every webhook.
#[derive(Debug)]
pub struct Notice {
    told: Receiver<()>,
    until: Instant,
}

impl Notice {
    /// Posts a JSON object to all of them at once, without waiting for it.
    pub fn post(webhooks: &[WebhookUrl], route: Route<'_>, json: &str) -> Self {
        let listeners = webhooks.iter().filter_map(|url| Some((listener(url, route)?, url.reveal())));
        let listeners: Vec<_> = listeners.collect();
        let json = json.to_owned();
        let told = apart("a webhook", move |runtime| {
            runtime.block_on(async move {
                let tell = |(listener, address): (Listener, String)| {
                    let json = json.clone();
                    async move { listener.tell(address, json).await }
                };
                listeners.into_iter().map(tell).collect::<JoinSet<()>>().join_all().await;
            });
        });
        Self { told, until: Instant::now() + PATIENCE }
    }

    /// Waits for as long as one try and another may take.
    pub fn wait(self) {
        let left = self.until.saturating_duration_since(Instant::now());
        if self.told.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            warn!("a webhook is not waited for any longer; the run is as it is");
        }
    }
}

fn listener(url: &WebhookUrl, route: Route<'_>) -> Option<Listener> {
    let name = format!("the webhook at {url}");
    let listener = Listener::new(url.base(), route, name, "application/json");
    listener.map_err(|error| warn!(%error, "the webhook at {url} is not told of this job")).ok()
}
