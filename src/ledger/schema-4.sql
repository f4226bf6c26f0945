-- By which clock a time was told: that of the process that wrote it.

ALTER TABLE runs ADD COLUMN clock TEXT;             -- of the process that carries it out, and of its claims
ALTER TABLE items ADD COLUMN first_sent_clock TEXT; -- of first_sent_at, of a VM that waits for another call
