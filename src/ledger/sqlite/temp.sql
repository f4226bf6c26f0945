-- What is not folded yet counts for every reader: it is folded into these, for one connection.

CREATE TEMP TABLE unfolded (item INTEGER PRIMARY KEY, event INTEGER NOT NULL);
CREATE TEMP TABLE in_flight (item INTEGER PRIMARY KEY);
CREATE TEMP TABLE unfolded_vms
    (base INTEGER, vmid TEXT, rack_id TEXT, allocation TEXT, seen_at INTEGER, unanswered TEXT, PRIMARY KEY (base, vmid))
    WITHOUT ROWID;
CREATE TEMP TABLE unfolded_seen (base INTEGER, vmid TEXT, seen_at INTEGER, PRIMARY KEY (base, vmid)) WITHOUT ROWID;
