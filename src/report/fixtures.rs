//! Rows of every outcome and every failure, and what they add up to, for the tests of the formats.

use proptest::prelude::*;
use serde_json::json;

use crate::allocation::{Change, Drift, Field};
use crate::inventory::InventoryFile;
use crate::ledger::{
    ChangeCount, Counts, FailureCount, Forecasts, RackCounts, ReasonCount, Row, RunInfo, Summary,
};
use crate::outcome::{Basis, Failure, Kind, Outcome};
use crate::vm::Action;

pub(super) fn run() -> RunInfo {
    RunInfo {
        kind: Kind::Run,
        dialect: crate::dialect::Dialect::V1,
        id: "20261123T021500Z-7f3a".into(),
        tool_version: "0.1.0".into(),
        base_url: "https://cloud.hostup.se".into(),
        key_fingerprint: Some("1a2b3c4d".into()),
        action: Some(Action::Allocate),
        inventory: vec![InventoryFile { path: "fleet.csv".into(), sha256: "00ff".into() }],
        inventory_vms: Some(20),
        options: [("rate".into(), json!("10/s")), ("concurrency".into(), json!(16))].into_iter().collect(),
        started_at: "2026-11-23T02:15:00Z".parse().unwrap(),
        ended_at: Some("2026-11-23T02:15:06.3Z".parse().unwrap()),
        resumes: 0,
        label_columns: vec!["owner".into(), "tier".into()],
        last_success_at: Some("2026-11-22T02:15:05Z".parse().unwrap()),
        whole_success_at: None,
    }
}

/// A plan, of the same inventory.
pub(super) fn plan() -> RunInfo {
    RunInfo {
        kind: Kind::Plan,
        dialect: crate::dialect::Dialect::V2,
        id: "20261123T020000Z-91c2".into(),
        ..run()
    }
}

fn row(vmid: u64, outcome: Outcome) -> Row {
    Row {
        vmid: vmid.to_string(),
        name: None,
        rack_id: None,
        action: Action::Allocate,
        outcome,
        basis: None,
        prefix: None,
        next_hop: None,
        planned_next_hop: None,
        status: None,
        previous_prefix: None,
        previous_next_hop: None,
        changes: vec![],
        drift: vec![],
        failure: None,
        may_have_applied: false,
        http_status: None,
        error: None,
        attempts: 0,
        throttled: 0,
        first_sent_at: None,
        settled_at: None,
        latency_ms: None,
        request_id: None,
        warnings: vec![],
        labels: vec![],
    }
}

/// A VM whose call was answered with an allocation.
fn answered(vmid: u64, outcome: Outcome, basis: Basis) -> Row {
    Row {
        name: Some("web-1".into()),
        rack_id: Some("dc1r28".into()),
        basis: Some(basis),
        prefix: Some("2001:db8::1/48".into()),
        next_hop: Some("2001:db8::1".into()),
        status: Some("active".into()),
        http_status: Some(200),
        attempts: 1,
        first_sent_at: Some("2026-11-23T02:15:00.1234567Z".parse().unwrap()),
        settled_at: Some("2026-11-23T02:15:00.5Z".parse().unwrap()),
        latency_ms: Some(376.54),
        request_id: Some("2121ae20".into()),
        labels: vec![("owner".into(), "net".into()), ("tier".into(), "1".into())],
        ..row(vmid, outcome)
    }
}

fn updated() -> Row {
    let change =
        |field, before: &str, after: &str| Change { field, before: before.into(), after: after.into() };
    Row {
        prefix: Some("2001:db8:9::1/48".into()),
        next_hop: Some("2001:db8::2".into()),
        previous_prefix: Some("2001:db8::1/48".into()),
        previous_next_hop: Some("2001:db8::1".into()),
        changes: vec![
            change(Field::Prefix, "2001:db8::1/48", "2001:db8:9::1/48"),
            change(Field::NextHop, "2001:db8::1", "2001:db8::2"),
        ],
        drift: vec![
            Drift { field: Field::RackId, expected: "dc1r29".into(), actual: "dc1r28".into() },
            Drift { field: Field::ClientId, expected: "1".into(), actual: "30000".into() },
        ],
        warnings: vec!["status is odd, not active".into(), "says \"so\"".into()],
        labels: vec![("tier".into(), "=cmd|' /C calc'!A0".into())],
        ..answered(10003, Outcome::Updated, Basis::Ledger)
    }
}

fn failed(vmid: u64, failure: Failure) -> Row {
    let (http_status, error) = match failure {
        Failure::Rejected => (Some(422), "prefix exhausted"),
        Failure::Unauthorized => (Some(401), "invalid key"),
        Failure::Forbidden => (Some(403), "not your VM"),
        Failure::NotFound => (Some(404), "no such VM"),
        Failure::Conflict => (Some(409), "VPS not ready"),
        Failure::RateLimited => (Some(429), "too many requests"),
        Failure::ServerError => (Some(503), "upstream\nunavailable \u{1b}[31m"),
        Failure::Timeout => (None, "no answer within 30 s"),
        Failure::Connect => (None, "connection refused"),
        Failure::Tls => (None, "certificate expired"),
        Failure::Redirected => (Some(302), "redirected to https://example.net/"),
        Failure::MalformedAnswer => (Some(200), "not JSON"),
        Failure::RefusedByApi => (Some(200), "success is false"),
        Failure::NotAttempted => return Row { failure: Some(failure), ..row(vmid, Outcome::Failed) },
    };
    Row {
        rack_id: Some("dc1r29".into()),
        failure: Some(failure),
        may_have_applied: matches!(
            failure,
            Failure::ServerError | Failure::Timeout | Failure::MalformedAnswer
        ),
        http_status,
        error: Some(error.into()),
        attempts: 5,
        first_sent_at: Some("2026-11-23T02:15:01Z".parse().unwrap()),
        settled_at: Some("2026-11-23T02:15:06Z".parse().unwrap()),
        ..row(vmid, Outcome::Failed)
    }
}

/// A VM that was looked at; `planned` is set where a call would change it.
fn seen(vmid: u64, outcome: Outcome, next_hop: Option<&str>, planned: Option<&str>) -> Row {
    let answered = answered(vmid, outcome, Basis::None);
    Row {
        basis: None,
        prefix: next_hop.and(answered.prefix),
        status: next_hop.and(answered.status),
        next_hop: next_hop.map(str::to_owned),
        planned_next_hop: planned.map(str::to_owned),
        ..answered
    }
}

fn blocked(vmid: u64, reason: &str) -> Row {
    Row { error: Some(reason.into()), ..seen(vmid, Outcome::Blocked, None, None) }
}

/// What a plan says: every outcome, and reasons that are alike.
pub(super) fn forecasts() -> Vec<Row> {
    let (old, new) = (Some("2001:db8::1"), Some("2001:db8::9"));
    let odd =
        Row { warnings: vec!["status is odd, not active".into()], ..seen(10104, Outcome::Keep, old, None) };
    vec![
        seen(10100, Outcome::Create, None, new),
        seen(10101, Outcome::Create, None, new),
        seen(10102, Outcome::Create, None, None),
        seen(10103, Outcome::Update, old, new),
        odd,
        blocked(10105, "cools down until 2026-12-01T00:00:00Z"),
        blocked(10106, "cools down until 2026-12-02T00:00:00Z"),
        blocked(10107, "<b>Assign</b>\u{1b}[31m an IPv4 address first"),
        failed(10108, Failure::NotFound),
        failed(10109, Failure::NotAttempted),
    ]
}

/// What the ledger would say of [`forecasts`].
pub(super) fn plan_summary() -> Summary {
    let named = |first: &[u64]| first.iter().map(ToString::to_string).collect();
    let change = |outcome, now: Option<&str>, to: Option<&str>, vms, first| ChangeCount {
        rack_id: Some("dc1r28".into()),
        outcome,
        next_hop: now.map(Into::into),
        planned_next_hop: to.map(Into::into),
        vms,
        examples: named(first),
    };
    let reason =
        |reason: &str, vms, first| ReasonCount { reason: reason.into(), vms, examples: named(first) };
    let (old, new) = (Some("2001:db8::1"), Some("2001:db8::9"));
    let forecasts = Forecasts {
        would_change: vec![
            change(Outcome::Create, None, new, 2, &[10100, 10101]),
            change(Outcome::Create, None, None, 1, &[10102]),
            change(Outcome::Update, old, new, 1, &[10103]),
        ],
        reasons: vec![
            reason("cools down until …", 2, &[10105, 10106]),
            reason("<b>Assign</b>\u{1b}[31m an IPv4 address first", 1, &[10107]),
        ],
    };
    Summary {
        forecasts: Some(forecasts),
        calls: 14,
        calls_in_duration: 14,
        retries: 4,
        throttled: 0,
        ..of(Kind::Plan, &self::forecasts())
    }
}

/// Every outcome, every basis and every failure.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        answered(10000, Outcome::Created, Basis::CreatedFlag),
        answered(10001, Outcome::Created, Basis::LostAnswer),
        answered(10002, Outcome::Unchanged, Basis::Ledger),
        updated(),
        answered(10004, Outcome::Updated, Basis::ServerClock),
        answered(10005, Outcome::Unchanged, Basis::None),
    ];
    rows.extend((10010..).zip(Failure::ALL).map(|(vmid, &failure)| failed(vmid, failure)));
    rows
}

/// What the ledger would say of the rows.
pub(super) fn summary(rows: &[Row]) -> Summary {
    of(Kind::Run, rows)
}

fn of(kind: Kind, rows: &[Row]) -> Summary {
    let (mut counts, mut racks, mut failures) = (Counts::none(kind), Vec::<RackCounts>::new(), Vec::new());
    for row in rows {
        counts.add_vm(row.outcome, row.failure);
        let at = racks.iter().position(|rack| rack.rack_id == row.rack_id).unwrap_or_else(|| {
            racks.push(RackCounts { rack_id: row.rack_id.clone(), counts: Counts::none(kind) });
            racks.len() - 1
        });
        racks[at].counts.add_vm(row.outcome, row.failure);
        if let Some(failure) = row.failure {
            failures.push(FailureCount {
                failure,
                vms: 1,
                may_have_applied: u64::from(row.may_have_applied),
                examples: vec![row.vmid.clone()],
                error: row.error.clone(),
            });
        }
    }
    Summary {
        counts,
        skipped: 0,
        drifted: rows.iter().filter(|row| !row.drift.is_empty()).count() as u64,
        warned: rows.iter().filter(|row| !row.warnings.is_empty()).count() as u64,
        warnings: vec![],
        workers: vec![],
        racks,
        failures,
        forecasts: None,
        calls: 71,
        retries: 52,
        throttled: 3,
        duration_s: 6.3,
        calls_in_duration: 71,
        calls_per_s: 11.27,
        pending: 0,
        complete: true,
        resumable: false,
        running: false,
        stopped_by: None,
        exit_code: 3,
        since: None,
    }
}

/// A row with the text wherever a text can be.
pub(super) fn with_text(text: &str) -> Row {
    let some = || Some(text.to_owned());
    Row {
        vmid: text.into(),
        name: some(),
        rack_id: some(),
        prefix: some(),
        next_hop: some(),
        status: some(),
        previous_prefix: some(),
        previous_next_hop: some(),
        changes: vec![Change { field: Field::Status, before: text.into(), after: text.into() }],
        drift: vec![Drift { field: Field::RackId, expected: text.into(), actual: text.into() }],
        error: some(),
        request_id: some(),
        warnings: vec![text.into()],
        labels: vec![("any".into(), text.into())],
        ..row(1, Outcome::Created)
    }
}

/// Anything, and much of what formats, terminals and spreadsheets stumble over.
pub(super) fn any_text() -> impl Strategy<Value = String> {
    let evil = proptest::sample::select(
        "=+-@＝＋－＠\t\r\n \u{a0}\u{200b}\u{feff}'\",;\\\0\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{2066}09.aå🦀"
            .chars()
            .collect::<Vec<_>>(),
    );
    proptest::collection::vec(prop_oneof![evil, any::<char>()], 0..12).prop_map(String::from_iter)
}

#[test]
fn the_fixtures_show_every_outcome_basis_and_failure() {
    let rows = rows();
    for outcome in Kind::Run.outcomes() {
        assert!(rows.iter().any(|row| row.outcome == *outcome), "{outcome}");
    }
    let forecasts = forecasts();
    for outcome in Kind::Plan.outcomes() {
        assert!(forecasts.iter().any(|row| row.outcome == *outcome), "{outcome}");
    }
    for basis in Basis::ALL {
        assert!(rows.iter().any(|row| row.basis == Some(*basis)), "{basis}");
    }
    for failure in Failure::ALL {
        assert!(rows.iter().any(|row| row.failure == Some(*failure)), "{failure}");
    }
}
