-- What was last seen of each VM at each base URL. What was seen again is looked up out here: within the parts it would keep
-- a VM from being looked for in them by its id.
CREATE TEMP VIEW known AS
    SELECT base, vmid, rack_id, allocation, unanswered,
        coalesce((SELECT seen_at FROM unfolded_seen s WHERE (s.base, s.vmid) = (v.base, v.vmid)),
            (SELECT seen_at FROM seen s WHERE folded AND (s.base, s.vmid) = (v.base, v.vmid)), seen_at) AS seen_at
    FROM (SELECT base, vmid, rack_id, allocation, seen_at, unanswered, 0 AS folded FROM unfolded_vms
        UNION ALL SELECT base, vmid, rack_id, allocation, seen_at, unanswered, 1 FROM vms m
        WHERE NOT EXISTS (SELECT 1 FROM unfolded_vms u WHERE (u.base, u.vmid) = (m.base, m.vmid))) v;
