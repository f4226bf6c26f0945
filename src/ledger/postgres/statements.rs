//! The statements by which a writer changes its run, each for as many items as there are.

use std::sync::LazyLock;

use super::changes::{Changes, Deferrals, Doubts, News, Outcomes, Sightings};
use super::database::Run;
use super::question::{Question, Value};
use super::sitting::SETTLED;

/// Begins batch `$2` of worker `$1` in the `$4`th sitting of run `$3`: what follows is refused where that batch, or another one,
/// is on disk already, where the worker was buried, and where the sitting is over.
pub(super) const RENEW: &str = "SELECT v6fleet.renew($1, $2, $3, $4)";

/// What a call needs of each of the items `claimed`, whose VMs are known at `base`, and what is known of its VM.
fn items(claimed: &str, base: &str, turn: &str, which: &str) -> String {
    format!(
        "SELECT i.no, i.rack, i.vmid, i.action, i.expected, i.rack_expected, v.allocation, v.unanswered, c.attempts,
            c.throttled, c.first_sent_at, c.first_sent_clock, {turn}, c.failure, c.error, c.may_have_applied
        FROM {claimed} c JOIN v6fleet.items i ON i.no = c.item
            LEFT JOIN v6fleet.vms v ON v.base = {base} AND v.vmid = i.vmid
        {which} ORDER BY i.turn"
    )
}

/// What worker `$1` has claimed at `$3` of the items from `$4` to `$5`, whose VMs are known at base `$2`, but for those that
/// it claimed again, `$6`. No turn is told.
pub(super) static CLAIMED: LazyLock<String> = LazyLock::new(|| {
    let which = "WHERE c.item BETWEEN $4 AND $5 AND c.worker = $1 AND c.claimed_at = $3 AND c.outcome IS NULL
        AND c.item <> ALL ($6)";
    items("v6fleet.progress", "$2", "NULL::bigint", which)
});

/// Which of items `$3` worker `$1` has claimed again at `$2`.
pub(super) const CLAIMED_AGAIN: &str = "SELECT array(SELECT item FROM v6fleet.progress
    WHERE item = ANY ($3) AND worker = $1 AND claimed_at = $2 AND outcome IS NULL)";

/// The lock of all claims at a base.
macro_rules! claim_lock {
    ($base:literal) => {
        concat!("pg_advisory_xact_lock(1983276653, ", $base, "::bigint::integer)")
    };
}

/// One claim at a time of VMs at base `$1`, until its transaction ends: it finds what those before it have claimed.
pub(super) const CLAIM_ALONE: &str = concat!("SELECT ", claim_lock!("$1"));

/// The same at the base of run `$1`, unless that has ended.
pub(super) const CLAIM_ALONE_IN: &str =
    concat!("SELECT ", claim_lock!("base"), " FROM v6fleet.runs WHERE no = $1 AND ended_at IS NULL");

/// Runs at base `$1` beside run `$2` whose workers may hold something.
macro_rules! others {
    ($base:literal, $run:literal) => {
        concat!(
            "SELECT DISTINCT w.run FROM v6fleet.workers w JOIN v6fleet.runs r ON r.no = w.run
             WHERE NOT w.buried AND w.run <> ",
            $run,
            " AND r.base = ",
            $base
        )
    };
}

/// That the VM of item `i` is in a call of another run.
const IS_CALLED: &str =
    "EXISTS (SELECT 1 FROM others o JOIN v6fleet.items oi ON oi.run = o.run AND oi.vmid = i.vmid
    JOIN v6fleet.progress op ON op.item = oi.no AND op.claimed_at IS NOT NULL AND op.outcome IS NULL)";

/// Claims the next items of the racks `$5`, each named once, as many as `$6`, at `$4`, for worker `$2` of run `$1`, whose VMs are
/// known at base `$3`: those that were given back, and behind the turns `$7` those that nobody has claimed in this sitting. Those
/// that another run calls are left out. Tells what a call needs of each, what is known of its VM, and behind which turn the rest
/// of its rack is that nobody has claimed; of racks without such a rest it tells this alone.
pub(super) static CLAIM: LazyLock<String> = LazyLock::new(|| {
    let back = format!(
        "SELECT r.no, t.rack FROM {ASKED} AS t (rack, vms, after) CROSS JOIN LATERAL
            (SELECT r.item AS no FROM {} AND r.rack = t.rack ORDER BY r.turn LIMIT t.vms) AS r",
        *RETURNED
    );
    let vms = "CASE WHEN stop IS NULL THEN 9223372036854775807 ELSE 0 END";
    claim([vms, vms], &back, "")
});

/// The same of a canary: at most `$8` VMs may have been claimed in this sitting, whatever became of them. Those of them that were
/// given back come first, of whichever rack they are.
pub(super) static CLAIM_CANARY: LazyLock<String> = LazyLock::new(|| {
    let vms = format!(
        "CASE WHEN stop IS NOT NULL THEN 0 ELSE least(greatest($8::bigint - held - ({}), 0),
            (SELECT sum(n)::bigint FROM unnest($6::bigint[]) AS n)) END",
        *SETTLED
    );
    let back = format!("SELECT r.item AS no, r.rack FROM {} ORDER BY r.turn", *RETURNED);
    claim(
        [&vms, "greatest($8::bigint - canary, 0)"],
        &back,
        ", canary = canary + (SELECT count(*) FROM anew)",
    )
});

/// The racks that are asked for, with how many VMs of each, and the turn behind which those are that nobody has claimed.
const ASKED: &str = "unnest($5::bigint[], $6::bigint[], $7::bigint[])";

/// What was given back, but for those that another run calls.
static RETURNED: LazyLock<String> = LazyLock::new(|| {
    format!("v6fleet.returned r JOIN v6fleet.items i ON i.no = r.item WHERE r.run = $1 AND NOT {IS_CALLED}")
});

/// A claim of up to `vms` items: first those that are `back`, then up to `fresh` ones that nobody has claimed. What it has
/// `counted` besides comes last, as for all others who lock the sums.
fn claim([vms, fresh]: [&str; 2], back: &str, counted: &str) -> String {
    format!(
        "WITH others AS MATERIALIZED ({others}),
        room AS (SELECT {vms} AS vms, {fresh} AS fresh FROM v6fleet.sittings WHERE run = $1),
        back AS ({back} LIMIT (SELECT vms FROM room)),
        fresh AS (SELECT least(fresh, vms - (SELECT count(*) FROM back)) AS vms FROM room),
        wanted AS MATERIALIZED (
            SELECT t.rack, greatest(t.vms - (SELECT count(*) FROM back b WHERE b.rack = t.rack), 0) AS vms, t.after
            FROM {ASKED} AS t (rack, vms, after)
        ), anew AS ({ANEW}),
        firsts AS MATERIALIZED (
            SELECT rack, min(first_called) AS turn FROM anew WHERE first_called IS NOT NULL GROUP BY rack
        ), claimed AS (
            INSERT INTO v6fleet.progress AS p (item, worker, claimed_at)
            SELECT no, $2, $4 FROM (SELECT no FROM back UNION ALL SELECT no FROM anew) AS taken
            ON CONFLICT (item) DO UPDATE SET worker = excluded.worker, claimed_at = excluded.claimed_at
                WHERE p.outcome IS NULL AND p.worker IS NULL
            RETURNING item, attempts, throttled, first_sent_at, first_sent_clock, failure, error, may_have_applied
        ), gone AS (
            DELETE FROM v6fleet.returned WHERE item = ANY (ARRAY(SELECT no FROM back)) RETURNING item
        ), counted AS (
            UPDATE v6fleet.sittings SET held = held + (SELECT count(*) FROM claimed){counted}
            FROM (SELECT count(*) FROM gone) AS before_it
            WHERE run = $1 AND EXISTS (SELECT 1 FROM claimed)
        )
        ({claimed}) UNION ALL {EXHAUSTED}",
        others = others!("$3", "$1"),
        claimed = items("claimed", "$3", BEHIND, ""),
        ANEW = *ANEW,
        EXHAUSTED = *EXHAUSTED,
    )
}

/// That nobody has claimed item `i` in this sitting, whose progress is `p`.
pub(super) const UNCLAIMED: &str = "p.outcome IS NULL AND p.worker IS NULL
    AND (p.item IS NULL OR (SELECT r.item FROM v6fleet.returned r WHERE r.item = i.no) IS NULL)";

/// The next items that nobody has claimed of the racks that are `wanted`, as many as there is room for; and the first turn of
/// those that another run calls.
static ANEW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT n.no, t.rack, n.first_called
            FROM wanted t CROSS JOIN LATERAL (
                SELECT c.no, c.turn, c.is_called, min(c.turn) FILTER (WHERE c.is_called) OVER () AS first_called,
                    count(*) FILTER (WHERE NOT c.is_called) OVER (ORDER BY c.turn ROWS UNBOUNDED PRECEDING) AS nth
                FROM (
                    SELECT i.no, i.turn, {IS_CALLED} AS is_called
                    FROM v6fleet.items i LEFT JOIN v6fleet.progress p ON p.item = i.no
                    WHERE i.run = $1 AND i.rack = t.rack AND i.turn > t.after AND {UNCLAIMED}
                    ORDER BY i.turn LIMIT t.vms + CASE WHEN EXISTS (SELECT 1 FROM others) THEN {AROUND} ELSE 0 END
                ) AS c
            ) AS n
            WHERE t.vms > 0 AND NOT n.is_called AND n.nth <= t.vms
            ORDER BY n.turn LIMIT (SELECT vms FROM fresh)"
    )
});

/// The turn behind which the rest of the rack is that nobody has claimed, as far as the item tells.
const BEHIND: &str = "CASE WHEN i.no NOT IN (SELECT no FROM back)
    THEN least(i.turn, (SELECT f.turn - 1 FROM firsts f WHERE f.rack = i.rack)) END";

/// Racks of which nothing is left that nobody has claimed: told with no item, and behind any turn.
static EXHAUSTED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT NULL, t.rack, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 9223372036854775807,
            NULL, NULL, NULL
        FROM wanted t WHERE t.vms > 0 AND t.rack NOT IN (SELECT rack FROM anew) AND (
            SELECT i.no FROM v6fleet.items i LEFT JOIN v6fleet.progress p ON p.item = i.no
            WHERE i.run = $1 AND i.rack = t.rack AND i.turn > t.after AND {UNCLAIMED}
            ORDER BY i.turn LIMIT 1
        ) IS NULL"
    )
});

/// How many VMs that another run calls are looked past.
const AROUND: u32 = 256;

/// Claims items `$3` of worker `$1`, which wait for another call, once more at `$2`: those whose VM no other run than `$5`
/// calls at base `$4`.
pub(super) static CLAIM_AGAIN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH others AS MATERIALIZED ({others}),
        own AS (
            SELECT i.no, {IS_CALLED} AS is_called
            FROM unnest($3::bigint[]) AS n (item) JOIN v6fleet.items i ON i.no = n.item
                JOIN v6fleet.progress p ON p.item = n.item AND p.worker = $1 AND p.outcome IS NULL
        ), claimed AS (
            UPDATE v6fleet.progress p SET claimed_at = $2 FROM own WHERE p.item = own.no AND NOT own.is_called
            RETURNING p.item
        )
        SELECT array(SELECT item FROM claimed), v6fleet.expect($3, array(SELECT no FROM own))",
        others = others!("$4", "$5"),
    )
});

const RELEASE: &str = "UPDATE v6fleet.progress p SET claimed_at = NULL FROM unnest($2::bigint[]) AS n (item)
    WHERE p.item = n.item AND p.worker = $1 AND p.outcome IS NULL";

static GIVE_BACK: LazyLock<String> =
    LazyLock::new(|| give_back("FROM unnest($2::bigint[]) AS n (item) WHERE p.item = n.item AND", ""));

/// Lets others claim items of worker `$1` that have no outcome, those of them `which`, and has more `counted` besides.
pub(super) fn give_back(which: &str, counted: &str) -> String {
    format!(
        "WITH given_back AS (
            UPDATE v6fleet.progress p SET worker = NULL, claimed_at = NULL
            {which} p.worker = $1 AND p.outcome IS NULL
            RETURNING p.item
        ), listed AS (
            INSERT INTO v6fleet.returned (item, run, rack, turn)
            SELECT i.no, i.run, i.rack, i.turn FROM given_back g JOIN v6fleet.items i ON i.no = g.item
        )
        UPDATE v6fleet.sittings SET held = held - n, returns = returns + least(n, 1){counted}
        FROM (SELECT count(*) AS n FROM given_back) AS counted
        WHERE run = (SELECT run FROM v6fleet.workers WHERE no = $1)"
    )
}

static DEFER: LazyLock<String> = LazyLock::new(|| changed(Deferrals::COLUMNS, "", "p.outcome IS NULL"));

/// An item is settled once, and after its claim where it succeeded.
static SETTLE: LazyLock<String> = LazyLock::new(|| {
    let is_due = "p.outcome IS NULL AND (p.claimed_at IS NOT NULL OR n.outcome = 'failed')";
    changed(Outcomes::COLUMNS, "first_sent_clock = NULL, ", is_due)
});

static KNOW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO v6fleet.vms AS vms (base, vmid, rack_id, allocation, seen_at)
         SELECT $1, vmid, rack_id, allocation, seen_at FROM {}
         ON CONFLICT (base, vmid) DO UPDATE SET rack_id = coalesce(excluded.rack_id, vms.rack_id), allocation = excluded.allocation,
            seen_at = excluded.seen_at, unanswered = NULL",
        unnested(News::COLUMNS, 2)
    )
});

static SEE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE v6fleet.vms v SET seen_at = n.seen_at, unanswered = NULL FROM {}
         WHERE v.base = $1 AND v.vmid = n.vmid",
        unnested(Sightings::COLUMNS, 2)
    )
});

static MISS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO v6fleet.vms (base, vmid, seen_at) SELECT $1, vmid, seen_at FROM {}
         ON CONFLICT (base, vmid) DO UPDATE SET allocation = NULL, seen_at = excluded.seen_at",
        unnested(Sightings::COLUMNS, 2)
    )
});

const REMEMBER: &str = "
    INSERT INTO v6fleet.vms (base, vmid, unanswered)
    SELECT $1, n.vmid, n.unanswered FROM unnest($2::text[], $3::text[]) AS n (vmid, unanswered)
        LEFT JOIN v6fleet.vms v ON v.base = $1 AND v.vmid = n.vmid
    WHERE v.unanswered IS DISTINCT FROM n.unanswered
    ON CONFLICT (base, vmid) DO UPDATE SET unanswered = excluded.unanswered";

/// Sets columns of this worker's items where they are as they must be; else nothing of the batch is written.
fn changed(columns: &[[&str; 2]], more: &str, are_due: &str) -> String {
    let set: Vec<String> = columns[1..].iter().map(|[name, _]| format!("{name} = n.{name}")).collect();
    format!(
        "WITH changed AS (
            UPDATE v6fleet.progress p SET claimed_at = NULL, {more}{} FROM {}
            WHERE p.item = n.item AND p.worker = $1 AND {are_due}
            RETURNING p.item
        )
        SELECT v6fleet.expect($2, array(SELECT item FROM changed))",
        set.join(", "),
        unnested(columns, 2)
    )
}

/// A table of values, of which the first column is the value `$first`.
fn unnested(columns: &[[&str; 2]], first: usize) -> String {
    let values = (first..).zip(columns).map(|(nth, [_, kind])| format!("${nth}::{kind}[]"));
    let names = columns.iter().map(|[name, _]| *name);
    format!(
        "unnest({}) AS n ({})",
        values.collect::<Vec<_>>().join(", "),
        names.collect::<Vec<_>>().join(", ")
    )
}

/// What writes the changes of a worker's items, in this order.
pub(super) fn writing(run: Run, worker: i64, changes: Changes) -> Vec<Question> {
    let Changes {
        released,
        given_back,
        deferrals,
        outcomes,
        news,
        sightings,
        absences,
        doubts,
        remembered,
        ..
    } = changes;
    let of_worker = || -> Vec<Value> { vec![Box::new(worker)] };
    let of_base = || -> Vec<Value> { vec![Box::new(run.base)] };
    let tables: [(&'static str, bool, Vec<Value>, Vec<Value>); 9] = [
        (RELEASE, released.is_empty(), of_worker(), vec![Box::new(released)]),
        (&DEFER, deferrals.is_empty(), of_worker(), deferrals.into_values()),
        (REMEMBER, doubts.is_empty(), of_base(), in_columns(doubts)),
        (&SETTLE, outcomes.is_empty(), of_worker(), outcomes.into_values()),
        (&KNOW, news.is_empty(), of_base(), news.into_values()),
        (&SEE, sightings.is_empty(), of_base(), sightings.into_values()),
        (&MISS, absences.is_empty(), of_base(), absences.into_values()),
        (REMEMBER, remembered.is_empty(), of_base(), in_columns(remembered)),
        // What is deferred in the same batch is still ours; and others wait for the run's sums from here on.
        (&GIVE_BACK, given_back.is_empty(), of_worker(), vec![Box::new(given_back)]),
    ];
    let needed = tables.into_iter().filter(|(_, is_empty, ..)| !is_empty);
    needed.map(|(sql, _, of, values)| Question::new(sql, of.into_iter().chain(values).collect())).collect()
}

fn in_columns(doubts: Doubts) -> Vec<Value> {
    let (vms, unanswered): (Vec<String>, Vec<Option<String>>) = doubts.into_iter().unzip();
    vec![Box::new(vms), Box::new(unanswered)]
}
