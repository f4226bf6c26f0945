-- The selection is written once, and what happens to its VMs is appended in the order in which it happens: what a call
-- costs is neither where its VM lies in the fleet, nor how many racks there are. What the events have led to is folded
-- at the end of a run, or by the next writer, and the events are dropped.
-- Items and events are numbered by run << 32 | number: an item's is its position in the inventory.

ALTER TABLE items RENAME TO items_4;
DROP INDEX items_by_vm;
DROP INDEX items_by_rack;
DROP INDEX items_by_turn;

CREATE TABLE items (
    no            INTEGER PRIMARY KEY,
    run           INTEGER NOT NULL REFERENCES runs,
    vmid          TEXT NOT NULL,
    rack          INTEGER NOT NULL, -- racks.no: the inventory's rack, else the one last seen
    rack_expected INTEGER NOT NULL, -- whether it is the inventory's
    name          TEXT,
    action        TEXT NOT NULL,
    expected      TEXT,
    labels        TEXT,
    turn          INTEGER           -- the VMs that the job's last run left without an outcome come first, in this order
) STRICT;
INSERT INTO items SELECT run << 32 | position, run, vmid, rack, rack_expected, name, action, expected, labels, turn
    FROM items_4 ORDER BY run, position;
CREATE UNIQUE INDEX items_by_vm ON items (run, vmid);
CREATE INDEX items_by_turn ON items (run, turn) WHERE turn IS NOT NULL;

-- What has not been folded yet.
CREATE TABLE events (
    no                INTEGER PRIMARY KEY,
    item              INTEGER NOT NULL,
    event             TEXT NOT NULL, -- deferred, settled, remembered
    attempts          INTEGER NOT NULL DEFAULT 0,
    throttled         INTEGER NOT NULL DEFAULT 0,
    first_sent_at     INTEGER,
    first_sent_clock  TEXT,          -- of first_sent_at, of a VM that waits for another call
    settled_at        INTEGER,
    outcome           TEXT,          -- once it is settled
    basis             TEXT,
    rack_id           TEXT,          -- as answered
    prefix            TEXT,
    next_hop          TEXT,
    planned_next_hop  TEXT,          -- of a plan: what a call would set
    status            TEXT,
    ids               TEXT,          -- those of the allocation, as answered
    previous_prefix   TEXT,          -- '' where it was answered again, and so is the next
    previous_next_hop TEXT,
    changes           TEXT,
    drift             TEXT,
    warnings          TEXT,
    failure           TEXT,
    may_have_applied  INTEGER NOT NULL DEFAULT 0,
    http_status       INTEGER,
    error             TEXT,
    latency_us        INTEGER,
    request_id        TEXT,
    allocation        TEXT,          -- where it is not what was known before
    unanswered        TEXT           -- the attempts whose answer was lost, those of earlier runs too
) STRICT;

-- What the latest event of each item says.
CREATE TABLE latest (
    item              INTEGER PRIMARY KEY,
    attempts          INTEGER NOT NULL DEFAULT 0,
    throttled         INTEGER NOT NULL DEFAULT 0,
    first_sent_at     INTEGER,
    first_sent_clock  TEXT,
    settled_at        INTEGER,
    outcome           TEXT,
    basis             TEXT,
    rack_id           TEXT,
    prefix            TEXT,
    next_hop          TEXT,
    planned_next_hop  TEXT,
    status            TEXT,
    ids               TEXT,
    previous_prefix   TEXT,
    previous_next_hop TEXT,
    changes           TEXT,
    drift             TEXT,
    warnings          TEXT,
    failure           TEXT,
    may_have_applied  INTEGER NOT NULL DEFAULT 0,
    http_status       INTEGER,
    error             TEXT,
    latency_us        INTEGER,
    request_id        TEXT
) STRICT;
INSERT INTO latest SELECT run << 32 | position, attempts, throttled, first_sent_at, first_sent_clock, settled_at, outcome,
        basis, rack_id, prefix, next_hop, NULL, status, ids, previous_prefix, previous_next_hop, changes, drift, warnings, failure,
        may_have_applied, http_status, error, latency_us, request_id
    FROM items_4 WHERE state = 2 OR attempts > 0 OR throttled > 0 OR failure IS NOT NULL ORDER BY run, position;
DROP TABLE items_4;

ALTER TABLE runs ADD COLUMN kind TEXT NOT NULL DEFAULT 'run';  -- run, plan
ALTER TABLE runs ADD COLUMN folded INTEGER NOT NULL DEFAULT 0; -- up to this event

-- Of a VM that a look found without an allocation, vms.seen_at alone is known.
-- When each VM was last seen changes every night, what was seen does not: where it was the same again, it was so then, and
-- not only at vms.seen_at.
CREATE TABLE seen (
    base    INTEGER NOT NULL REFERENCES bases,
    vmid    TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (base, vmid)
) STRICT, WITHOUT ROWID;

-- Calls that are in flight, or were when the process died: those of the items that have no event since.
ALTER TABLE claims RENAME TO claims_4;
CREATE TABLE claims (
    no         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL REFERENCES runs,
    since      INTEGER NOT NULL, -- the last event then
    claimed_at INTEGER NOT NULL,
    positions  TEXT NOT NULL
) STRICT;
INSERT INTO claims SELECT NULL, c.run, r.folded, claimed_at, json_array(position) FROM claims_4 c JOIN runs r ON r.no = c.run;
DROP TABLE claims_4;

-- One API for each base URL and dialect. Their numbers stay.
PRAGMA defer_foreign_keys = ON;
CREATE TEMP TABLE bases_4 AS SELECT id, url FROM bases;
DROP TABLE bases;
CREATE TABLE bases (
    id      INTEGER PRIMARY KEY,
    url     TEXT NOT NULL,
    dialect TEXT NOT NULL, -- v1, v2
    UNIQUE (url, dialect)
) STRICT;
INSERT INTO bases SELECT id, url, 'v1' FROM temp.bases_4;
DROP TABLE temp.bases_4;

ALTER TABLE runs ADD COLUMN written TEXT; -- the files in directories of its own, which go with it
ALTER TABLE runs ADD COLUMN workers TEXT; -- who carried it out, where that was a database that several may work on
