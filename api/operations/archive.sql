-- name: places
SELECT topic, partition, max(next_offset) FILTER (WHERE state <> 'writing') AS next_offset,
    count(*) FILTER (WHERE state = 'done') AS parts,
    COALESCE(sum(records) FILTER (WHERE state = 'done'), 0)::bigint AS records,
    COALESCE(sum(next_offset - first_offset) FILTER (WHERE state = 'lost'), 0)::bigint AS lost,
    max(done_at) AS archived_at
FROM write.archive_parts
GROUP BY topic, partition;

-- name: files
SELECT topic, count(*) AS files, sum(bytes)::bigint AS bytes FROM write.archive_objects GROUP BY topic;

-- name: checks
SELECT topic, partition, next_offset, checked_at FROM write.archive_checks;
