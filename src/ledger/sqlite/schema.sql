-- Times are microseconds since 1970 (UTC); words are those of the reports; lists and objects are JSON.

CREATE TABLE bases (
    id  INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE runs (
    no              INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    base            INTEGER NOT NULL REFERENCES bases,
    tool_version    TEXT NOT NULL,
    action          TEXT,
    fleet           TEXT NOT NULL, -- the inventory files and the action: what makes two runs the same job
    inventory       TEXT NOT NULL,
    label_columns   TEXT NOT NULL,
    options         TEXT NOT NULL,
    key_fingerprint TEXT,
    timeout_us      INTEGER NOT NULL,
    warnings        TEXT NOT NULL,
    started_at      INTEGER NOT NULL,
    resumed_at      INTEGER,
    resumes         INTEGER NOT NULL DEFAULT 0,
    calls_before    INTEGER NOT NULL DEFAULT 0, -- calls made before the last resume
    ended_at        INTEGER,
    stopped_by      TEXT,
    exit_code       INTEGER
) STRICT;

CREATE TABLE racks (
    run     INTEGER NOT NULL REFERENCES runs,
    no      INTEGER NOT NULL,
    rack_id TEXT,
    PRIMARY KEY (run, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE skipped (
    run    INTEGER NOT NULL REFERENCES runs,
    file   TEXT NOT NULL,
    line   INTEGER NOT NULL,
    field  TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE items (
    run              INTEGER NOT NULL REFERENCES runs,
    position         INTEGER NOT NULL, -- in the inventory
    vmid             TEXT NOT NULL,
    rack             INTEGER NOT NULL, -- racks.no: the inventory's rack, else the one last seen
    rack_expected    INTEGER NOT NULL, -- whether it is the inventory's
    name             TEXT,
    action           TEXT NOT NULL,
    expected         TEXT,
    labels           TEXT,
    state            INTEGER NOT NULL DEFAULT 0, -- 0 pending, 1 claimed, 2 settled
    claimed_at       INTEGER,
    attempts         INTEGER NOT NULL DEFAULT 0,
    throttled        INTEGER NOT NULL DEFAULT 0,
    first_sent_at    INTEGER,
    settled_at       INTEGER,
    outcome          TEXT,
    basis            TEXT,
    rack_id          TEXT, -- as answered
    prefix           TEXT,
    next_hop         TEXT,
    status           TEXT,
    previous_prefix  TEXT,
    previous_next_hop TEXT,
    changes          TEXT,
    drift            TEXT,
    warnings         TEXT,
    failure          TEXT, -- of the last attempt, also where the VM is still pending
    may_have_applied INTEGER NOT NULL DEFAULT 0,
    http_status      INTEGER,
    error            TEXT,
    latency_us       INTEGER,
    request_id       TEXT,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX items_by_vm ON items (vmid, run);
CREATE INDEX items_by_rack ON items (run, rack, position);

-- What was last seen of each VM at each base URL, and the attempts whose answer was never learned.
CREATE TABLE vms (
    base       INTEGER NOT NULL REFERENCES bases,
    vmid       TEXT NOT NULL,
    rack_id    TEXT,
    allocation TEXT,
    seen_at    INTEGER,
    unanswered TEXT,
    PRIMARY KEY (base, vmid)
) STRICT, WITHOUT ROWID;
