//! Workers that nobody can wake, behind a pooler that shares connections: what one of them is told, the others find when they look.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, Process, eventually};
use crate::fleet;
use crate::pooler::Pooler;
use crate::postgres::Server;
use crate::script::{Api, error, success};
use crate::workers::under_way;

/// How long the API asks to be left alone.
const PAUSE: Duration = Duration::from_secs(2);

/// Longer than a slot is handed out ahead of its time.
const HEARD: Duration = Duration::from_millis(900);

/// A fixture whose workers all go through a pooler, and that.
fn pooled(api: &Api, vms: usize) -> Option<(Pooler, Fixture)> {
    let server = Server::start()?;
    let pooler = Pooler::to(&server, 2)?;
    let mut fixture = api.fixture().in_database(server);
    fixture.set("V6FLEET_LEDGER", &pooler.url());
    fixture.write("fleet.csv", fleet::csv(vms));
    Some((pooler, fixture))
}

fn all_end_with(code: i32, workers: Vec<Process>) {
    for worker in workers {
        worker.end().exits(code);
    }
}

#[test]
fn a_pause_that_the_api_asks_one_worker_for_and_a_stop_reach_all_that_only_poll() {
    let refused_since = Arc::new(Mutex::new(None::<Instant>));
    let since = Arc::clone(&refused_since);
    let api = Api::start(move |_, _| match *since.lock().unwrap() {
        Some(since) if since.elapsed() < HEARD => {
            error(429, "RATE_LIMITED").header("retry-after", PAUSE.as_secs().to_string()).into()
        }
        _ => success(201, true, 0).into(),
    });
    let Some((_pooler, mut fixture)) = pooled(&api, 2_000) else { return };
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "60/s"];
    let workers = under_way(&mut fixture, 3, &run);
    let since = Instant::now();
    *refused_since.lock().unwrap() = Some(since);
    let after = |wait: Duration| api.received().iter().filter(|request| request.at >= since + wait).count();
    eventually("it goes on", || after(PAUSE) > 0);
    let called = after(HEARD) - after(PAUSE);
    assert_eq!(called, 0, "calls while the API had asked for a pause");
    fixture.run(&["stop"]).exits(0);
    all_end_with(143, workers);
    assert!(api.received().len() < 2_000);
}

#[test]
fn a_brake_stops_all_workers_that_only_poll() {
    let api = Api::start(|vmid, _| match vmid.parse::<u64>().unwrap() {
        ..100_060 => success(201, true, 0).after(Duration::from_millis(60)).into(),
        _ => error(404, "NOT_FOUND").after(Duration::from_millis(20)).into(),
    });
    let Some((_pooler, mut fixture)) = pooled(&api, 400) else { return };
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--concurrency", "2"];
    let workers = under_way(&mut fixture, 3, &[&run[..], &["--max-failed", "10"]].concat());
    all_end_with(4, workers);
    let failed = fixture.database().sql("SELECT count(*) FROM v6fleet.progress WHERE outcome = 'failed'");
    assert!((11..=10 + 3 * 2).contains(&failed.parse::<usize>().unwrap()), "{failed}");
}
