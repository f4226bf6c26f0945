-- A run's items with the latest event of each, and whether a call for it is in flight, or was when the process died.
CREATE TEMP VIEW listed AS SELECT items.*,
    coalesce((SELECT event FROM unfolded u WHERE u.item = items.no), (SELECT event FROM latest l WHERE l.item = items.no))
        AS event,
    items.no IN (SELECT item FROM in_flight) AS in_flight
FROM items;
