-- Lets a ledger of schema 1 be read as one of schema 2, without a write to it.

CREATE TEMP VIEW runs_2 AS
    SELECT *, NULL AS inventory_vms, NULL AS counts, 0 AS pinned, 0 AS pruned FROM main.runs;

CREATE TEMP VIEW items_4 AS SELECT *, NULL AS ids, NULL AS first_sent_clock, NULL AS turn FROM main.items;

CREATE TEMP VIEW rates AS SELECT NULL AS base, NULL AS key_fingerprint, NULL AS per_second, NULL AS found_at WHERE false;
