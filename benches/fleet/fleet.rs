//! Fleets to call for, and the program as it is run over them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::answerer::Answerer;
use crate::arrivals::Arrivals;
use crate::process::{self, Cost};
use crate::yardstick::CONCURRENCY;

/// The id of a fleet's first VM.
pub(crate) const FIRST: usize = 10_000;

/// Racks of one size, each full of neighbours by id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Racks {
    size: usize,
}

impl Racks {
    pub(crate) fn new(vms: usize, racks: usize) -> Self {
        Self { size: vms.div_ceil(racks) }
    }

    /// The number of the rack that a VM is on.
    pub(crate) fn of(self, vmid: usize) -> usize {
        (vmid - FIRST) / self.size
    }
}

/// What a dialect of the API calls its VMs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ids {
    V1,
    V2,
}

impl Ids {
    fn of(self, vmid: usize) -> String {
        match self {
            Self::V1 => vmid.to_string(),
            Self::V2 => format!("vps_01hxa3b{vmid:019}"),
        }
    }

    /// As `--api` has it.
    fn dialect(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// A fleet, and where a run of it leaves what it writes.
pub(crate) struct Fleet {
    pub(crate) vms: usize,
    ids: Ids,
    pub(crate) racks: Racks,
    pub(crate) inventory: PathBuf,
    ledger: PathBuf,
    pub(crate) report: PathBuf,
    /// That of its server: the ledger knows VMs by the address at which they were seen.
    port: u16,
}

/// How a fleet's rows are ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    ById,
    /// As an export sorted by anything else is.
    Mixed,
}

impl Fleet {
    /// Writes the inventory of a fleet of `vms` on so many `racks`.
    pub(crate) fn new(dir: &Path, vms: usize, racks: usize, order: Order) -> Self {
        Self::called(Ids::V1, dir, vms, racks, order)
    }

    /// The same under the ids of a dialect.
    pub(crate) fn called(ids: Ids, dir: &Path, vms: usize, racks: usize, order: Order) -> Self {
        let fleet = Self {
            vms,
            ids,
            racks: Racks::new(vms, racks),
            inventory: dir.join(format!("fleet-{vms}-{racks}-{order:?}-{ids:?}.csv")),
            ledger: dir.join(format!("ledger-{vms}-{racks}.db")),
            report: dir.join(format!("report-{vms}-{racks}.csv")),
            port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        };
        let mut csv = BufWriter::new(File::create(&fleet.inventory).unwrap());
        writeln!(csv, "vmid,name,rack_id").unwrap();
        for row in 0..vms {
            let vmid = FIRST
                + match order {
                    Order::ById => row,
                    // 7919 is prime and divides none of our sizes: each VM comes once.
                    Order::Mixed => row * 7919 % vms,
                };
            writeln!(csv, "{},vm-{vmid},r{:04}", ids.of(vmid), fleet.racks.of(vmid)).unwrap();
        }
        csv.into_inner().unwrap();
        fleet
    }

    /// With its ledger in a database.
    pub(crate) fn kept_in(self, database: &str) -> Self {
        Self { ledger: database.into(), ..self }
    }

    /// Lets the next run be the first: its ledger is a new one, if it is in a file.
    pub(crate) fn forget(&self) {
        for suffix in ["", "-wal", "-shm", ".lock"] {
            drop(fs::remove_file(self.beside_ledger(suffix)));
        }
    }

    /// What the ledger takes on the disk, in bytes.
    pub(crate) fn ledger_size(&self) -> u64 {
        let size = |suffix| fs::metadata(self.beside_ledger(suffix)).map_or(0, |file| file.len());
        ["", "-wal"].into_iter().map(size).sum()
    }

    fn beside_ledger(&self, suffix: &str) -> PathBuf {
        let mut file = self.ledger.clone().into_os_string();
        file.push(suffix);
        file.into()
    }

    /// A server that knows the fleet's racks.
    pub(crate) fn answerer(&self, latency: Duration) -> Answerer {
        Answerer::start(self.port, latency, self.racks)
    }

    /// The run of the whole fleet, at most at `rate`.
    pub(crate) fn run(&self, server: &Answerer, rate: &str) -> Command {
        let mut run = v6fleet();
        run.arg("run").arg(&self.inventory).args(["--action", "allocate", "--rate", rate, "-q"]);
        run.args(["--progress", "never", "--output-dir", "none", "--concurrency", &CONCURRENCY.to_string()]);
        run.arg("--base-url").arg(server.base_url());
        run.arg("--ledger").arg(&self.ledger).arg("--output").arg(&self.report);
        run
    }

    /// Runs the whole fleet. Panics unless each VM was called once, and its row says that nothing has changed.
    pub(crate) fn cost(&self, latency: Duration) -> Cost {
        self.cost_and_arrivals(latency).0
    }

    /// The same, with when the calls arrived.
    pub(crate) fn cost_and_arrivals(&self, latency: Duration) -> (Cost, Arrivals) {
        let server = self.answerer(latency);
        let cost = process::cost(&mut self.run(&server, "none"));
        let arrivals = server.stop();
        assert_eq!(arrivals.len(), self.vms, "calls");
        let rows = BufReader::new(File::open(&self.report).unwrap()).lines();
        let unchanged = rows.filter(|row| row.as_ref().unwrap().contains(",unchanged,")).count();
        assert_eq!(unchanged, self.vms, "unchanged VMs in the report");
        (cost, arrivals)
    }

    /// The check and the selection of the whole inventory, without a call.
    pub(crate) fn dry_run(&self) -> Command {
        let mut run = self.checked();
        run.args(["--rack", "r*"]);
        run
    }

    /// The same of each VM by its id, in a file of all of them.
    pub(crate) fn dry_run_by_ids(&self) -> Command {
        let ids = self.inventory.with_extension("ids");
        let lines = (FIRST..).take(self.vms).map(|vmid| self.ids.of(vmid) + "\n");
        fs::write(&ids, lines.collect::<String>()).unwrap();
        let mut run = self.checked();
        run.arg("--vmid").arg(format!("@{}", ids.display()));
        run
    }

    fn checked(&self) -> Command {
        let mut run = v6fleet();
        run.arg("run").arg(&self.inventory).args(["--action", "allocate", "--dry-run"]);
        run.args(["--api", self.ids.dialect()]).arg("--ledger").arg(self.ledger.with_extension("none"));
        run
    }

    /// How the run stands that is under way.
    pub(crate) fn status(&self) -> Command {
        let mut status = v6fleet();
        status.arg("status").arg("--ledger").arg(&self.ledger);
        status
    }

    /// The CSV report of the run that [`Self::cost`] has made.
    pub(crate) fn report(&self) -> Command {
        let mut report = v6fleet();
        report.arg("report").arg("--ledger").arg(&self.ledger).arg("--output").arg(&self.report);
        report
    }
}

/// The program with no settings but those typed.
pub(crate) fn v6fleet() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_v6fleet"));
    program.env_clear().env("HOSTUP_API_KEY", "bench").env("HOME", "/nonexistent");
    program
}
