-- A claim is a row of a small table: what a call costs is not where its VM lies in the fleet.
-- Since then items.state is 0 (pending, claimed or not) or 2 (settled).

CREATE TABLE claims (
    run        INTEGER NOT NULL REFERENCES runs,
    position   INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;

INSERT INTO claims SELECT run, position, claimed_at FROM items WHERE state = 1 AND claimed_at IS NOT NULL;
UPDATE items SET state = 0 WHERE state = 1;
ALTER TABLE items DROP COLUMN claimed_at;
