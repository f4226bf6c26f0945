-- Lets a ledger of schema 4 be read as one of schema 5, without a write to it. In ledgers of schema 1 items_4, and in
-- those of schemas 1 and 2 claims_4, are not the tables themselves. Where a number is looked up that is computed here,
-- SQLite goes through all of them once: that is borne until the next run has brought the ledger up to date.

CREATE TEMP VIEW items AS
    SELECT run << 32 | position AS no, run, vmid, rack, rack_expected, name, action, expected, labels FROM items_4;

CREATE TEMP VIEW events AS WITH e AS MATERIALIZED (
    SELECT run << 32 | position AS no, iif(state = 2, 'settled', 'deferred') AS event, attempts, throttled,
        first_sent_at, settled_at, iif(state = 2, outcome, NULL) AS outcome, basis, rack_id, prefix, next_hop, status,
        ids, previous_prefix, previous_next_hop, changes, drift, warnings, failure, may_have_applied, http_status,
        error, latency_us, request_id
    FROM items_4) SELECT * FROM e;

CREATE TEMP VIEW latest AS SELECT no AS item, no AS event FROM items;

CREATE TEMP VIEW vms AS SELECT base, vmid, rack_id, allocation, unanswered FROM main.vms;
CREATE TEMP VIEW seen AS SELECT base, vmid, seen_at FROM main.vms WHERE seen_at IS NOT NULL;

-- Each item has one event, of its own number.
CREATE TEMP VIEW listed AS SELECT items.*, no AS event, no IN (SELECT item FROM in_flight) AS in_flight FROM items;

INSERT INTO in_flight SELECT run << 32 | position FROM claims_4;
