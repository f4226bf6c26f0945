-- What runs are listed, compared and kept by.

ALTER TABLE runs ADD COLUMN inventory_vms INTEGER;             -- valid VMs of the whole inventory, selected or not
ALTER TABLE runs ADD COLUMN counts        TEXT;                -- once it has ended
ALTER TABLE runs ADD COLUMN pinned        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN pruned        INTEGER NOT NULL DEFAULT 0; -- being deleted: as good as gone

ALTER TABLE items ADD COLUMN ids TEXT; -- those of the allocation, as answered

-- The API's own limit as the latest run found it, in calls a second; the key is hashed, and empty for a rehearsal.
CREATE TABLE rates (
    base            INTEGER NOT NULL REFERENCES bases,
    key_fingerprint TEXT NOT NULL,
    per_second      REAL NOT NULL,
    found_at        INTEGER NOT NULL,
    PRIMARY KEY (base, key_fingerprint)
) STRICT, WITHOUT ROWID;
