//! Fleets to call for, and the program as it is run over them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::answerer::Answerer;
use crate::process::{self, Cost};
use crate::yardstick::CONCURRENCY;

/// The number of the rack that a VM is on: forty neighbours share one, of a hundred.
pub(crate) fn rack(vmid: usize) -> usize {
    vmid / 40 % 100
}

/// A fleet, and where a run of it leaves what it writes.
pub(crate) struct Fleet {
    pub(crate) vms: usize,
    pub(crate) inventory: PathBuf,
    ledger: PathBuf,
    pub(crate) report: PathBuf,
}

/// How a fleet's rows are ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    ById,
    /// As an export sorted by anything else is.
    Mixed,
}

impl Fleet {
    /// Writes the inventory of a fleet of `vms`.
    pub(crate) fn new(dir: &Path, vms: usize, order: Order) -> Self {
        let fleet = Self {
            vms,
            inventory: dir.join(format!("fleet-{vms}-{order:?}.csv")),
            ledger: dir.join(format!("ledger-{vms}.db")),
            report: dir.join(format!("report-{vms}.csv")),
        };
        let mut csv = BufWriter::new(File::create(&fleet.inventory).unwrap());
        writeln!(csv, "vmid,name,rack_id").unwrap();
        for row in 0..vms {
            let vmid = 10_000
                + match order {
                    Order::ById => row,
                    // 7919 is prime and divides none of our sizes: each VM comes once.
                    Order::Mixed => row * 7919 % vms,
                };
            writeln!(csv, "{vmid},vm-{vmid},r{:02}", rack(vmid)).unwrap();
        }
        csv.into_inner().unwrap();
        fleet
    }

    /// The run of the whole fleet with a new ledger, at most at `rate`.
    pub(crate) fn run(&self, server: &Answerer, rate: &str) -> Command {
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let mut file = self.ledger.clone().into_os_string();
            file.push(suffix);
            drop(fs::remove_file(file));
        }
        let mut run = v6fleet();
        run.arg("run").arg(&self.inventory).args(["--action", "allocate", "--rate", rate, "-q"]);
        run.args(["--progress", "never", "--output-dir", "none", "--concurrency", &CONCURRENCY.to_string()]);
        run.arg("--base-url").arg(server.base_url());
        run.arg("--ledger").arg(&self.ledger).arg("--output").arg(&self.report);
        run
    }

    /// Runs the whole fleet. Panics unless each VM was called once, and has its row.
    pub(crate) fn cost(&self, server: Answerer) -> Cost {
        let cost = process::cost(&mut self.run(&server, "none"));
        assert_eq!(server.stop().len(), self.vms, "calls");
        let rows = BufReader::new(File::open(&self.report).unwrap()).split(b'\n').count() - 1;
        assert_eq!(rows, self.vms, "rows of the report");
        cost
    }

    /// The check and the selection of the whole inventory, without a call.
    pub(crate) fn dry_run(&self) -> Command {
        let mut run = v6fleet();
        run.arg("run").arg(&self.inventory).args(["--action", "allocate", "--dry-run", "--rack", "r*"]);
        run.arg("--ledger").arg(self.ledger.with_extension("none"));
        run
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
