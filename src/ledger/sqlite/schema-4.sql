-- By which clock a time was told: that of the process that wrote it.

ALTER TABLE runs ADD COLUMN clock TEXT;             -- of the process that carries it out, and of its claims
ALTER TABLE items ADD COLUMN first_sent_clock TEXT; -- of first_sent_at, of a VM that waits for another call

-- What makes two runs the same job, beside files and action; and whose turn comes first.

ALTER TABLE runs ADD COLUMN selection TEXT NOT NULL DEFAULT '{}'; -- what narrowed the inventory, as typed
ALTER TABLE runs ADD COLUMN piped     TEXT NOT NULL DEFAULT '';   -- SHA-256 of what can be read only once: standard input, pipes
ALTER TABLE runs ADD COLUMN id_files  TEXT NOT NULL DEFAULT '[]'; -- those of --vmid @FILE, like inventory
ALTER TABLE runs ADD COLUMN braked    TEXT;                       -- the brake that it ran into since its start or last resume
UPDATE runs SET (selection, piped) = (SELECT selection, piped FROM jobs WHERE jobs.no = runs.no);
DROP VIEW jobs;

-- The VMs that the job's last run left without an outcome come before the others of their rack, in this order.
ALTER TABLE items ADD COLUMN turn INTEGER;
CREATE INDEX items_by_turn ON items (run, rack, turn) WHERE turn IS NOT NULL;
