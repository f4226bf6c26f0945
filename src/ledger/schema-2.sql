-- The API's own limit as the latest run found it, in calls a second; the key is hashed, and empty for a rehearsal.
CREATE TABLE rates (
    base            INTEGER NOT NULL REFERENCES bases,
    key_fingerprint TEXT NOT NULL,
    per_second      REAL NOT NULL,
    found_at        INTEGER NOT NULL,
    PRIMARY KEY (base, key_fingerprint)
) STRICT, WITHOUT ROWID;
