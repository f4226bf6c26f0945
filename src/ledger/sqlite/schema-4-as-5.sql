-- Lets a ledger of schema 4 be read as one of schema 5, without a write to it. In ledgers of schema 1 items_4, and in
-- those of schemas 1 and 2 claims_4, are not the tables themselves. What is asked of all items of a run goes through those
-- of all runs once: that is borne until the next run has brought the ledger up to date.

CREATE TEMP VIEW items AS
    SELECT run << 32 | position AS no, run, vmid, rack, rack_expected, name, action, expected, labels FROM items_4;

-- An event is looked up by its number, which is computed here: for this connection the numbers are written down, and each
-- column is found by the parts of its number. No join, or SQLite would go through all events for each lookup.
CREATE TEMP TABLE numbers (no INTEGER PRIMARY KEY);
INSERT INTO numbers SELECT no FROM items;
CREATE TEMP VIEW events AS SELECT no,
    (SELECT iif(state = 2, 'settled', 'deferred') FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS event,
    (SELECT attempts FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS attempts,
    (SELECT throttled FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS throttled,
    (SELECT first_sent_at FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS first_sent_at,
    (SELECT settled_at FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS settled_at,
    (SELECT iif(state = 2, outcome, NULL) FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS outcome,
    (SELECT basis FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS basis,
    (SELECT rack_id FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS rack_id,
    (SELECT prefix FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS prefix,
    (SELECT next_hop FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS next_hop,
    (SELECT status FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS status,
    (SELECT ids FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS ids,
    (SELECT previous_prefix FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS previous_prefix,
    (SELECT previous_next_hop FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS previous_next_hop,
    (SELECT changes FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS changes,
    (SELECT drift FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS drift,
    (SELECT warnings FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS warnings,
    (SELECT failure FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS failure,
    (SELECT may_have_applied FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS may_have_applied,
    (SELECT http_status FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS http_status,
    (SELECT error FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS error,
    (SELECT latency_us FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS latency_us,
    (SELECT request_id FROM items_4 WHERE (run, position) = (no >> 32, no & 0xffffffff)) AS request_id FROM numbers;

CREATE TEMP VIEW latest AS SELECT no AS item, no AS event FROM items;

CREATE TEMP TABLE seen (base INTEGER, vmid TEXT, seen_at INTEGER, PRIMARY KEY (base, vmid)) WITHOUT ROWID;

-- Each item has one event, of its own number.
CREATE TEMP VIEW listed AS SELECT items.*, no AS event, no IN (SELECT item FROM in_flight) AS in_flight FROM items;

INSERT INTO in_flight SELECT run << 32 | position FROM claims_4;
