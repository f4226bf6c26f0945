//! A run that several processes share, and what calls it.

use jiff::Timestamp;
use support::fixture::{Fixture, Process, eventually};
use support::fleet;
use support::postgres::Server;
use support::sandbox::Sandbox;

use crate::arrivals::Arrivals;

/// What all work with: a fleet, a sandbox to call and a database.
pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    pub(crate) fixture: Fixture,
}

/// How the run is begun.
pub(crate) struct Terms {
    pub(crate) rate: &'static str,
    pub(crate) lease: &'static str,
    /// Of each worker.
    pub(crate) concurrency: &'static str,
}

impl Site {
    pub(crate) fn new(sandbox: &[&str], vms: usize) -> Self {
        let sandbox = Sandbox::start(sandbox);
        let fixture = Fixture::at(&sandbox).in_database(Server::durable().expect("PostgreSQL is needed"));
        fixture.write("fleet.csv", fleet::csv(vms));
        Self { sandbox, fixture }
    }

    /// So many processes, of which the first begins the run; the others have waited for it.
    pub(crate) fn crew(&self, workers: usize, terms: &Terms) -> Vec<Process> {
        let waiting: Vec<_> = (1..workers).map(|_| self.worker(terms)).collect();
        let Terms { rate, lease, concurrency } = terms;
        let run = ["run", "fleet.csv", "--action", "allocate", "--output-dir", "none", "--rate", rate];
        let began =
            self.fixture.start(&[&run[..], &["--lease", lease, "--concurrency", concurrency]].concat());
        [began].into_iter().chain(waiting).collect()
    }

    /// One more.
    pub(crate) fn worker(&self, terms: &Terms) -> Process {
        let work = ["work", "--wait", "--output-dir", "none", "--concurrency", terms.concurrency];
        self.fixture.start(&work)
    }

    /// Waits until a query finds so much.
    pub(crate) fn await_count(&mut self, query: &str, count: usize) {
        let database = self.fixture.database();
        eventually(query, || {
            let is_there = database.sql("SELECT to_regclass('v6fleet.workers') IS NOT NULL") == "t";
            is_there && database.sql(query) == count.to_string()
        });
    }

    /// When calls arrived between two moments, since the first of them.
    pub(crate) fn arrivals(&self, from: Timestamp, until: Timestamp) -> Arrivals {
        let calls = self.sandbox.calls().into_iter().map(|call| call.at);
        let mut moments: Vec<Timestamp> = calls.filter(|at| (from..until).contains(at)).collect();
        moments.sort_unstable();
        let since_first = |at: &Timestamp| at.duration_since(moments[0]).as_micros();
        moments.iter().map(|at| u32::try_from(since_first(at)).unwrap()).collect()
    }

    pub(crate) fn stop(&self) {
        self.fixture.run(&["stop"]).exits(0);
    }
}

/// Waits for the end of all.
pub(crate) fn await_end(crew: Vec<Process>) {
    for worker in crew {
        worker.end().exits(0);
    }
}
