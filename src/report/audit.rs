//! An audit's findings, for people and for programs, and what they add up to.

mod advice;
mod evidence;
mod files;
mod html;
mod text;

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;
use serde::Serialize;

use crate::audit::{Finding, Kind, Severity};
use crate::inventory::InventoryFile;
use crate::text::moment_field;

pub use files::{AuditFiles, Format, JsonAudit};
pub use text::AuditText;

/// What was audited, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditInfo {
    pub base_url: String,
    #[serde(serialize_with = "moment_field")]
    pub audited_at: Timestamp,
    /// The run that looked at the VMs just before.
    pub plan: Option<String>,
    pub max_age_days: u32,
    /// Findings that are less bad are left out.
    pub min_severity: Severity,
    pub whole_fleet: bool,
}

impl AuditInfo {
    /// Where what is known of the VMs comes from; `base_url` is shown as it is.
    fn source(&self, base_url: impl Display) -> String {
        match &self.plan {
            None => format!("as last seen at {base_url}; nothing was called"),
            Some(plan) => format!("looked at by plan {plan} at {base_url}; nothing was changed"),
        }
    }
}

/// What an audit's findings add up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditSummary {
    /// The files that the VMs were compared with.
    pub inventory: Vec<InventoryFile>,
    /// VMs of the inventory that were audited.
    pub selected: u64,
    /// Invalid inventory rows that were left out.
    pub skipped: u64,
    /// VMs with at least one finding, those that the inventory has not among them.
    pub vms_with_findings: u64,
    pub findings: u64,
    pub severities: BTreeMap<Severity, u64>,
    pub kinds: BTreeMap<Kind, u64>,
    /// About the audit as a whole.
    pub warnings: Vec<String>,
}

impl Default for AuditSummary {
    /// Nothing found, which is said of every kind.
    fn default() -> Self {
        Self {
            inventory: Vec::new(),
            selected: 0,
            skipped: 0,
            vms_with_findings: 0,
            findings: 0,
            severities: Severity::ALL.iter().map(|&severity| (severity, 0)).collect(),
            kinds: Kind::ALL.iter().map(|&kind| (kind, 0)).collect(),
            warnings: Vec::new(),
        }
    }
}

impl AuditSummary {
    /// How many findings are of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    /// Counts all findings about one VM.
    pub fn add(&mut self, findings: &[Finding]) {
        self.vms_with_findings += u64::from(!findings.is_empty());
        self.findings += findings.len() as u64;
        for finding in findings {
            *self.severities.entry(finding.severity).or_default() += 1;
            *self.kinds.entry(finding.kind).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Other;

    pub(super) fn info() -> AuditInfo {
        AuditInfo {
            base_url: "https://cloud.hostup.se".into(),
            audited_at: "2026-11-24T08:00:00Z".parse().unwrap(),
            plan: None,
            max_age_days: 30,
            min_severity: Severity::Notice,
            whole_fleet: true,
        }
    }

    /// One of every kind, with the evidence that such a finding has.
    pub(super) fn findings() -> Vec<Finding> {
        Kind::ALL.iter().zip(10_000..).map(|(&kind, vmid)| finding(kind, vmid)).collect()
    }

    pub(super) fn finding(kind: Kind, vmid: u64) -> Finding {
        let (expected, actual) = match kind {
            Kind::NeverSeen | Kind::NoAllocation | Kind::NotSeenLately => (None, None),
            Kind::SamePrefix | Kind::OverlappingPrefix | Kind::NotInInventory => {
                (None, Some("2001:db8::/56"))
            }
            Kind::Released | Kind::CoolingDown => (None, Some("2026-11-20 00:00:00+00")),
            Kind::NotActive => (Some("active"), Some("=odd\u{1b}")),
            Kind::RackDiffers => (Some("dc1r28"), Some("dc1r29")),
            Kind::AccountDiffers | Kind::ClientDiffers | Kind::ProxmoxVmDiffers => (Some("1"), Some("2")),
            Kind::PrefixDiffers | Kind::HostBits => (Some("2001:db8::/48"), Some("2001:db8::1/48")),
            Kind::NextHopDiffers | Kind::OddNextHop => (Some("2001:db8::1"), Some("2001:db8::9")),
        };
        let seen_at = "2026-11-23T02:15:01Z".parse().unwrap();
        let others = match kind {
            Kind::SamePrefix | Kind::OverlappingPrefix => {
                let prefix = "2001:db8::/48".to_owned();
                vec![Other { vmid: "20000".into(), prefix, seen_at }]
            }
            _ => vec![],
        };
        Finding {
            severity: kind.severity(),
            kind,
            vmid: vmid.to_string(),
            name: (kind != Kind::NotInInventory).then(|| "=vm\u{1b}".into()),
            rack_id: Some("dc1r28".into()),
            expected: expected.map(Into::into),
            actual: actual.map(Into::into),
            other_vms: if others.is_empty() { 12 * usize::from(kind == Kind::OddNextHop) } else { 4 },
            others,
            seen_at: (kind != Kind::NeverSeen).then_some(seen_at),
        }
    }

    pub(super) fn summary(findings: &[Finding]) -> AuditSummary {
        let inventory = vec![InventoryFile { path: "fleet.csv".into(), sha256: "ab".repeat(32) }];
        let mut summary = AuditSummary { inventory, selected: 60, ..AuditSummary::default() };
        for finding in findings {
            summary.add(std::slice::from_ref(finding));
        }
        summary
    }
}
