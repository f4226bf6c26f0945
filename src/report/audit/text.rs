//! The audit for people: how bad it is, the first findings of each kind, and what to do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::advice::advice;
use super::evidence::{TEXT, actual, company, date};
use super::{AuditInfo, AuditSummary};
use crate::audit::{Finding, Kind, Severity};
use crate::text::{count, counted, escape, escape_path, excerpt};

/// VMs shown for each kind of finding.
const SHOWN: usize = 5;

/// The audit for people.
#[derive(Debug, Default)]
pub struct AuditText {
    /// The first lines of each kind.
    shown: BTreeMap<Kind, Vec<String>>,
}

impl AuditText {
    pub fn finding(&mut self, finding: &Finding) {
        let lines = self.shown.entry(finding.kind).or_default();
        if lines.len() < SHOWN {
            lines.push(line(finding));
        }
    }

    /// All of it, ending in a line break.
    pub fn finish(self, info: &AuditInfo, summary: &AuditSummary, files: &[PathBuf]) -> String {
        let mut text = head(info, summary);
        for (kind, lines) in self.shown {
            let vms = summary.of(kind);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{}: {kind}: {}", kind.severity(), counted(vms, "VM", "VMs"));
            text.extend(lines.iter().flat_map(|line| [line, "\n"]));
            let more = vms - lines.len() as u64;
            if more > 0 {
                let _ = writeln!(text, "  and {} more", count(more));
            }
            let _ = writeln!(text, "  → {}", advice(kind, info));
        }
        if summary.findings > 0 && files.is_empty() {
            text.push_str("\n-o FILE writes every finding to a file.\n");
        }
        for (i, path) in files.iter().enumerate() {
            let what = if i == 0 { "\nWritten:" } else { "        " };
            let _ = writeln!(text, "{what} {}", escape_path(path));
        }
        text
    }
}

fn head(info: &AuditInfo, summary: &AuditSummary) -> String {
    let severities = Severity::ALL.iter().rev().map(|&severity| {
        let findings = summary.severities.get(&severity).copied().unwrap_or_default();
        counted(findings, severity.as_str(), &format!("{severity}s"))
    });
    let verdict = match summary.findings {
        0 => "No finding".to_owned(),
        n => {
            let vms = counted(summary.vms_with_findings, "VM", "VMs");
            let severities = severities.collect::<Vec<_>>().join(", ");
            format!("{} about {vms} ({severities})", counted(n, "finding", "findings"))
        }
    };
    let audited = counted(summary.selected, "VM", "VMs");
    let mut text =
        format!("{verdict}\n{audited} of the inventory, {}.\n", info.source(excerpt(&info.base_url, TEXT)));
    if summary.skipped > 0 {
        let rows = counted(
            summary.skipped,
            "invalid row of the inventory was",
            "invalid rows of the inventory were",
        );
        let _ = writeln!(text, "{rows} skipped, and not audited.");
    }
    for warning in &summary.warnings {
        let _ = writeln!(text, "Warning: {}", escape(warning));
    }
    text
}

/// One VM, with the evidence and its date.
fn line(finding: &Finding) -> String {
    let Finding { vmid, rack_id, expected, .. } = finding;
    let mut line = format!("  {}", excerpt(vmid, TEXT));
    let short = |text: &Option<String>| text.as_deref().map(|text| excerpt(text, TEXT));
    // Writing to a String cannot fail.
    if let Some(rack) = short(rack_id) {
        let _ = write!(line, " on {rack}");
    }
    if let Some(at) = finding.seen_at {
        let _ = write!(line, ", seen {}", date(at));
    }
    if let Some(actual) = actual(finding, TEXT) {
        let _ = write!(line, ": {actual}");
    }
    if let Some(expected) = short(expected) {
        let _ = write!(line, ", expected {expected}");
    }
    if let Some(company) = company(finding) {
        let lead = if finding.others.is_empty() { ", as" } else { ";" };
        let _ = write!(line, "{lead} {company}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::audit::tests::{finding, findings, info, summary};

    fn text(findings: &[Finding], files: &[PathBuf]) -> String {
        let mut text = AuditText::default();
        for finding in findings {
            text.finding(finding);
        }
        text.finish(&info(), &summary(findings), files)
    }

    #[test]
    fn people_read_every_kind_with_its_evidence_and_what_to_do() {
        insta::assert_snapshot!(text(&findings(), &["a.csv".into(), "b.json".into()]), @r"
        17 findings about 17 VMs (8 errors, 7 warnings, 2 notices)
        60 VMs of the inventory, as last seen at https://cloud.hostup.se; nothing was called.

        error: same_prefix: 1 VM
          10000 on dc1r28, seen 2026-11-23: 2001:db8::/56; 20000 has 2001:db8::/48 (seen 2026-11-23) and 3 more
          → two VMs have one prefix: run refresh_next_hop for both; if it stays so, ask HostUp which one keeps it

        error: overlapping_prefix: 1 VM
          10001 on dc1r28, seen 2026-11-23: 2001:db8::/56; 20000 has 2001:db8::/48 (seen 2026-11-23) and 3 more
          → one VM's prefix lies within another's: run refresh_next_hop for both; if it stays so, ask HostUp

        error: prefix_differs: 1 VM
          10002 on dc1r28, seen 2026-11-23: 2001:db8::1/48, expected 2001:db8::/48
          → not the inventory's prefix: mend the inventory, or find out who changed it

        error: next_hop_differs: 1 VM
          10003 on dc1r28, seen 2026-11-23: 2001:db8::9, expected 2001:db8::1
          → not the inventory's next hop: run refresh_next_hop if the rack had maintenance, else mend the inventory

        error: rack_differs: 1 VM
          10004 on dc1r28, seen 2026-11-23: dc1r29, expected dc1r28
          → not the inventory's rack: was the VM moved? mend the inventory, or move it back

        error: released: 1 VM
          10005 on dc1r28, seen 2026-11-23: released 2026-11-20 00:00:00+00
          → the allocation was released: run allocate if the VM still needs a prefix

        error: never_seen: 1 VM
          10006 on dc1r28
          → nothing is known of these VMs at this base URL: run allocate for them

        error: no_allocation: 1 VM
          10007 on dc1r28, seen 2026-11-23
          → the API was asked, and has no allocation for these VMs: run allocate for them

        warning: not_active: 1 VM
          10008 on dc1r28, seen 2026-11-23: =odd\u{1b}, expected active
          → the allocation is not in use: run refresh_next_hop; if it stays so, ask HostUp

        warning: cooling_down: 1 VM
          10009 on dc1r28, seen 2026-11-23: until 2026-11-20 00:00:00+00
          → the prefix was given back and is kept for a while: does the VM still need one?

        warning: odd_next_hop: 1 VM
          10010 on dc1r28, seen 2026-11-23: 2001:db8::9, expected 2001:db8::1, as 12 VMs of its rack
          → most VMs of the rack have another next hop: was a maintenance missed? run refresh_next_hop for these

        warning: account_differs: 1 VM
          10011 on dc1r28, seen 2026-11-23: 2, expected 1
          → not the inventory's id: is the inventory's vmid that of another VM?

        warning: client_differs: 1 VM
          10012 on dc1r28, seen 2026-11-23: 2, expected 1
          → not the inventory's id: is the inventory's vmid that of another VM?

        warning: proxmox_vm_differs: 1 VM
          10013 on dc1r28, seen 2026-11-23: 2, expected 1
          → not the inventory's id: is the inventory's vmid that of another VM?

        warning: not_in_inventory: 1 VM
          10014 on dc1r28, seen 2026-11-23: 2001:db8::/56
          → the ledger knows VMs that the inventory has not: were they removed, or is a part of the inventory missing?

        notice: not_seen_lately: 1 VM
          10015 on dc1r28, seen 2026-11-23
          → not seen for more than 30 days: this may be out of date; run refresh_next_hop for them

        notice: host_bits: 1 VM
          10016 on dc1r28, seen 2026-11-23: 2001:db8::1/48, expected 2001:db8::/48
          → written with more than the network; harmless here, but check what other tools make of it

        Written: a.csv
                 b.json
        ");
    }

    #[test]
    fn of_many_findings_the_first_are_shown_and_the_rest_counted() {
        let findings: Vec<Finding> = (1..=2_005).map(|vmid| finding(Kind::NeverSeen, vmid)).collect();
        insta::assert_snapshot!(text(&findings, &[]), @"
        2,005 findings about 2,005 VMs (2,005 errors, 0 warnings, 0 notices)
        60 VMs of the inventory, as last seen at https://cloud.hostup.se; nothing was called.

        error: never_seen: 2,005 VMs
          1 on dc1r28
          2 on dc1r28
          3 on dc1r28
          4 on dc1r28
          5 on dc1r28
          and 2,000 more
          → nothing is known of these VMs at this base URL: run allocate for them

        -o FILE writes every finding to a file.
        ");
    }

    #[test]
    fn a_clean_fleet_is_two_lines() {
        insta::assert_snapshot!(text(&[], &[]), @"
        No finding
        60 VMs of the inventory, as last seen at https://cloud.hostup.se; nothing was called.
        ");
    }
}
