-- Lets a ledger of schema 4 be read as one of schema 5, without a write to it. In ledgers of schema 1 items_4, and in
-- those of schemas 1 and 2 claims_4, are not the tables themselves. What is asked of all items of a run goes through those
-- of all runs once: that is borne until the next run has brought the ledger up to date.

CREATE TEMP VIEW items AS
    SELECT run << 32 | position AS no, run, vmid, rack, rack_expected, name, action, expected, labels,
        turn FROM items_4;

CREATE TEMP VIEW listed AS SELECT run << 32 | position AS no, run, vmid, rack, rack_expected, name, action, expected, labels,
    run << 32 | position IN (SELECT item FROM in_flight) AS in_flight,
    attempts, throttled, first_sent_at, first_sent_clock, settled_at, iif(state = 2, outcome, NULL) AS outcome, basis, rack_id, prefix, next_hop,
    NULL AS planned_next_hop, status, ids, previous_prefix, previous_next_hop, changes, drift, warnings, failure, may_have_applied, http_status, error,
    latency_us, request_id
FROM items_4;

CREATE TEMP TABLE seen (base INTEGER, vmid TEXT, seen_at INTEGER, PRIMARY KEY (base, vmid)) WITHOUT ROWID;

INSERT INTO in_flight SELECT run << 32 | position FROM claims_4;

CREATE TEMP VIEW claims AS
    SELECT run << 32 | position AS no, run, 0 AS since, claimed_at, json_array(position) AS positions FROM claims_4;
CREATE TEMP VIEW events AS SELECT NULL AS no, NULL AS item WHERE false;
