//! A road to a database that is long, or on which nothing comes through any more, though nobody says so.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::Server;

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

/// One connection: the ways on which nothing comes through, and how often what came there is followed by something back.
#[derive(Default)]
struct Road {
    held: Mutex<Vec<Way>>,
    changed: Condvar,
    turns: Mutex<(Option<Way>, usize)>,
}

impl Road {
    fn hold(&self, ways: &[Way]) {
        *self.held.lock().unwrap() = ways.to_vec();
        self.changed.notify_all();
    }

    fn note(&self, way: Way) {
        let (last, turns) = &mut *self.turns.lock().unwrap();
        *turns += usize::from(way == Way::Back && *last == Some(Way::There));
        *last = Some(way);
    }

    fn wait(&self, way: Way) {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| held.contains(&way)).unwrap());
    }
}

/// What all connections share.
#[derive(Default)]
struct Roads {
    all: Vec<Arc<Road>>,
    /// Nothing comes through on new ones either.
    is_silent: bool,
}

/// Stands between the program and a database.
pub struct Proxy {
    dir: TempDir,
    roads: Arc<Mutex<Roads>>,
}

impl Proxy {
    /// Whatever goes either way takes so long.
    pub fn to(server: &Server, takes: Duration) -> Self {
        let dir = tempfile::Builder::new().prefix("pg-").tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let roads = Arc::new(Mutex::new(Roads::default()));
        let (server, to_all) = (server.socket(), Arc::clone(&roads));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let road = Arc::new(Road::default());
                let mut roads = to_all.lock().unwrap();
                if roads.is_silent {
                    road.hold(&[Way::There, Way::Back]);
                }
                roads.all.push(Arc::clone(&road));
                // Nobody is there while the server is down.
                if let Ok(server) = UnixStream::connect(&server) {
                    carry(&client, &server, takes, Way::There, &road);
                    carry(&server, &client, takes, Way::Back, &road);
                }
            }
        });
        Self { dir, roads }
    }

    /// As `--ledger` takes it.
    pub fn url(&self) -> String {
        format!("postgres://fleet@{}/postgres", self.dir.path().to_str().unwrap().replace('/', "%2F"))
    }

    /// How often something was answered: there and back on all connections.
    pub fn round_trips(&self) -> usize {
        self.roads.lock().unwrap().all.iter().map(|road| road.turns.lock().unwrap().1).sum()
    }

    /// Keeps back what goes this way on the connections that there are.
    pub fn hold(&self, way: Way) {
        self.roads.lock().unwrap().all.iter().for_each(|road| road.hold(&[way]));
    }

    /// Nothing comes through, and nobody is told; new connections are taken, and it is the same with them.
    pub fn fall_silent(&self) {
        let mut roads = self.roads.lock().unwrap();
        roads.is_silent = true;
        roads.all.iter().for_each(|road| road.hold(&[Way::There, Way::Back]));
    }

    /// Everything comes through, also what was kept back.
    pub fn let_go(&self) {
        let mut roads = self.roads.lock().unwrap();
        roads.is_silent = false;
        roads.all.iter().for_each(|road| road.hold(&[]));
    }
}

/// Carries what comes from one end to the other.
fn carry(from: &UnixStream, to: &UnixStream, takes: Duration, way: Way, road: &Arc<Road>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let (sender, on_its_way) = channel();
    let passed = Arc::clone(road);
    thread::spawn(move || {
        let mut bytes = [0; 8_192];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            passed.note(way);
            if sender.send((Instant::now() + takes, bytes[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    let road = Arc::clone(road);
    thread::spawn(move || arrive(&on_its_way, &mut to, way, &road));
}

fn arrive(on_its_way: &Receiver<(Instant, Vec<u8>)>, to: &mut UnixStream, way: Way, road: &Road) {
    for (due, bytes) in on_its_way {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        road.wait(way);
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    road.wait(way);
    // The other end says nothing more.
    let _ = to.shutdown(Shutdown::Write);
}
