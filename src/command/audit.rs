//! `v6fleet audit`: what is not as it should be, from the ledger and the inventory. Calls nothing itself.

mod listing;
mod live;

use std::mem;

use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::exit;
use super::failure::{Failure, Refusal};
use super::ledger::view;
use super::past::Past;
use super::spared::Spared;
use super::staging::{Selected, Stage, Staged, Wanted, stage};
use crate::allocation::Expected;
use crate::audit::{Census, Fleet, Standard, examine, missing};
use crate::config::AuditSettings;
use crate::dialect::Dialect;
use crate::inventory::{Inputs, InvalidRow, Selection, Vm};
use crate::ledger::{Ledger, LedgerError, SANDBOX};
use crate::progress::Screen;
use crate::report::ReportFile;
use crate::report::audit::AuditInfo;
use listing::Listing;
use live::Looked;

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// VMs that are looked up together: one by one, in an order other than the ledger's, each costs a read of its file.
const BATCH: usize = 16 * 1024;

/// Does what was asked for. Returns the exit code.
pub(super) fn audit(settings: &AuditSettings, screen: &Screen) -> Result<u8, Failure> {
    let AuditSettings { ledger, inventory, files, live, .. } = settings;
    let spared = Spared::new(ledger).inventory(inventory);
    let spared = live.iter().fold(spared, |spared, live| spared.api(&live.api));
    spared.check(files.iter().map(|file| &file.path))?;
    let selection = inventory.selection.read().map_err(Refusal::from)?;
    let mut inputs = Inputs::default();
    let looked = match live {
        Some(live) => {
            files.iter().try_for_each(ReportFile::check).map_err(Refusal::from)?;
            Some(Looked::at(live, &selection, &mut inputs, screen)?)
        }
        None => None,
    };
    let warning = looked.as_ref().and_then(Looked::warning);
    let exit_code = if warning.is_some() { exit::FAILED } else { exit::COMPLETE };
    let info = AuditInfo {
        base_url: if ledger.sandbox { SANDBOX } else { settings.base_url.as_str() }.to_owned(),
        audited_at: Timestamp::now(),
        plan: looked.map(|looked| looked.run.id),
        max_age_days: settings.max_age_days,
        min_severity: settings.min_severity,
        whole_fleet: settings.whole_fleet,
    };
    let ledger = Ledger::open_read_only(&ledger.location)?;
    ledger.check_kind(&info.base_url)?;
    let found = view(&ledger, |ledger| {
        let mut auditing = Auditing::begin(ledger, settings, &info)?;
        auditing.warnings.extend(warning);
        Ok(auditing.all(settings, &selection, &mut inputs)?.carry_out()?)
    })?;
    Ok(if exit_code == exit::COMPLETE { found } else { exit_code })
}

/// An audit while it is being made.
struct Auditing<'a> {
    ledger: &'a Ledger,
    base_url: &'a str,
    dialect: Dialect,
    standard: Standard,
    fleet: Fleet,
    /// Selected, and not examined yet.
    batch: Vec<Vm>,
    /// About the audit as a whole.
    warnings: Vec<String>,
    listing: Listing<'a>,
}

impl<'a> Auditing<'a> {
    fn begin(ledger: &'a Ledger, settings: &AuditSettings, info: &'a AuditInfo) -> Result<Self, Failure> {
        let listing = Listing::begin(settings, info).map_err(Refusal::from)?;
        let mut census = Census::default();
        let dialect = settings.dialect;
        ledger.each_sighting(&info.base_url, dialect, &mut |id, allocation, seen_at| {
            census.add(id, allocation, seen_at);
        })?;
        let max_age = SignedDuration::from_secs(i64::from(info.max_age_days) * SECONDS_OF_A_DAY);
        let standard = Standard { now: info.audited_at, max_age };
        let fleet = census.compare();
        Ok(Self {
            ledger,
            base_url: &info.base_url,
            dialect,
            standard,
            fleet,
            batch: Vec::new(),
            warnings: Vec::new(),
            listing,
        })
    }

    fn all(
        mut self,
        settings: &AuditSettings,
        selection: &Selection,
        inputs: &mut Inputs,
    ) -> Result<Listing<'a>, Failure> {
        let inventory = &settings.inventory;
        let wanted = Wanted { inventory, selection, action: None, needs_rack: false };
        let past = Past::of(Some(self.ledger), self.base_url, self.dialect);
        let staged = stage(&wanted, &past, inputs, &mut self)?;
        self.examine_batch()?;
        let Staged { reading, selected, skipped, shown, warnings } = staged;
        self.warnings.extend(warnings);
        for row in &shown {
            warn!("skipped {row}");
        }
        if settings.whole_fleet {
            self.missing(selection, skipped)?;
        }
        if self.fleet.is_empty() {
            self.warnings.push(format!("the ledger has seen no VM at {}", self.base_url));
        }
        Ok(self.listing.of(reading.files, selected, skipped, self.warnings))
    }

    /// Looks VMs up in the order of the ledger, and lists what is found in that of the inventory.
    fn examine_batch(&mut self) -> Result<(), LedgerError> {
        let vms = mem::take(&mut self.batch);
        let mut in_order: Vec<usize> = (0..vms.len()).collect();
        in_order.sort_unstable_by(|&one, &other| vms[one].id.cmp(&vms[other].id));
        let mut findings = vec![Vec::new(); vms.len()];
        for at in in_order {
            let last = self.ledger.sighting(self.base_url, self.dialect, &vms[at].id)?;
            findings[at] = examine(&vms[at], last.as_ref(), &self.fleet, self.standard);
        }
        for findings in findings {
            self.listing.add(findings);
        }
        Ok(())
    }

    /// The VMs that the inventory has not, as far as they are selected.
    fn missing(&mut self, selection: &Selection, skipped: u64) -> Result<(), Failure> {
        if skipped > 0 {
            return Err(Refusal::usage(anyhow::anyhow!(
                "--whole-fleet needs every row: a VM whose row is skipped would look as if the inventory had it not"
            ))
            .into());
        }
        for id in self.fleet.missing() {
            let Some(last) = self.ledger.sighting(self.base_url, self.dialect, &id)? else { continue };
            let vm = Vm { id, name: None, action: None, expected: Expected::default(), labels: vec![] };
            if selection.matches(&vm, last.allocation.as_ref().and_then(|seen| seen.rack_id.as_deref())) {
                self.listing.add(vec![missing(&vm, &last)]);
            }
        }
        Ok(())
    }
}

impl Stage for Auditing<'_> {
    type Error = Failure;

    fn select(&mut self, selected: &Selected<'_>) -> Result<(), Failure> {
        let Vm { id, name, action, expected, labels: _ } = selected.vm;
        // Labels may be long, and no finding is about them.
        self.batch.push(Vm {
            id: id.clone(),
            name: name.clone(),
            action: *action,
            expected: expected.clone(),
            labels: Vec::new(),
        });
        if self.batch.len() < BATCH { Ok(()) } else { Ok(self.examine_batch()?) }
    }

    fn skip(&mut self, _: &InvalidRow) -> Result<(), Failure> {
        Ok(())
    }

    fn see(&mut self, vm: &Vm) {
        if self.listing.info.whole_fleet {
            self.fleet.note(&vm.id);
        }
    }
}
