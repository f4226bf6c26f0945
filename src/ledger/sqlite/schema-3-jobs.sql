-- What schema 4 keeps of each run's job, as far as earlier ones recorded it.

CREATE TEMP VIEW jobs AS SELECT no,
    (SELECT json_group_object(key, json(texts)) FROM
        (SELECT key, (SELECT json_group_array(value) FROM
            (SELECT DISTINCT value FROM json_each(iif(o.type = 'array', o.value, json_array(o.value))) ORDER BY value)) AS texts
        FROM json_each(options) AS o WHERE key IN ('limit', 'only-failed', 'rack', 'vmid', 'where') ORDER BY key)
    ) AS selection,
    (SELECT coalesce(group_concat(value ->> 'sha256', ' '), '') FROM json_each(inventory) WHERE value ->> 'path' = '-') AS piped
FROM main.runs;
