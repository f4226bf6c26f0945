-- A run's items with what the latest event of each says, and whether a call for it is in flight, or was when the process
-- died.
CREATE TEMP VIEW listed AS SELECT i.*, i.no IN (SELECT item FROM in_flight) AS in_flight,
    iif(u.item IS NULL, l.attempts, e.attempts) AS attempts,
    iif(u.item IS NULL, l.throttled, e.throttled) AS throttled,
    iif(u.item IS NULL, l.first_sent_at, e.first_sent_at) AS first_sent_at,
    iif(u.item IS NULL, l.first_sent_clock, e.first_sent_clock) AS first_sent_clock,
    iif(u.item IS NULL, l.settled_at, e.settled_at) AS settled_at,
    iif(u.item IS NULL, l.outcome, e.outcome) AS outcome,
    iif(u.item IS NULL, l.basis, e.basis) AS basis,
    iif(u.item IS NULL, l.rack_id, e.rack_id) AS rack_id,
    iif(u.item IS NULL, l.prefix, e.prefix) AS prefix,
    iif(u.item IS NULL, l.next_hop, e.next_hop) AS next_hop,
    iif(u.item IS NULL, l.planned_next_hop, e.planned_next_hop) AS planned_next_hop,
    iif(u.item IS NULL, l.status, e.status) AS status,
    iif(u.item IS NULL, l.ids, e.ids) AS ids,
    iif(u.item IS NULL, l.previous_prefix, e.previous_prefix) AS previous_prefix,
    iif(u.item IS NULL, l.previous_next_hop, e.previous_next_hop) AS previous_next_hop,
    iif(u.item IS NULL, l.changes, e.changes) AS changes,
    iif(u.item IS NULL, l.drift, e.drift) AS drift,
    iif(u.item IS NULL, l.warnings, e.warnings) AS warnings,
    iif(u.item IS NULL, l.failure, e.failure) AS failure,
    iif(u.item IS NULL, l.may_have_applied, e.may_have_applied) AS may_have_applied,
    iif(u.item IS NULL, l.http_status, e.http_status) AS http_status,
    iif(u.item IS NULL, l.error, e.error) AS error,
    iif(u.item IS NULL, l.latency_us, e.latency_us) AS latency_us,
    iif(u.item IS NULL, l.request_id, e.request_id) AS request_id
FROM items i LEFT JOIN latest l ON l.item = i.no
    LEFT JOIN unfolded u ON u.item = i.no LEFT JOIN events e ON e.no = u.event;
