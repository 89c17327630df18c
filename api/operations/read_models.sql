-- name: versions
-- Sizes of tables with their indexes and large values.
SELECT models.projection, models.schema_name, models.version, models.build, models.state, models.created_at,
    models.flipped_at, models.expired_before, COALESCE(sum(pg_total_relation_size(class.oid)), 0)::bigint AS bytes
FROM write.read_models AS models
LEFT JOIN pg_namespace AS namespace ON namespace.nspname = models.schema_name
LEFT JOIN pg_class AS class ON class.relnamespace = namespace.oid AND class.relkind = 'r'
GROUP BY models.schema_name
ORDER BY models.projection, models.created_at;

-- name: newest_runs
-- Of each read model the newest run, and the newest that ended. ``held``: whoever builds holds the read model's lock.
SELECT DISTINCT ON (projection, state = 'running')
    projection, purpose, schema_name, state, phase, events_done, events_total, events_per_second, started_at, seen_at,
    ended_at, result,
    EXISTS (
        SELECT 1 FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND ((classid::bigint << 32) | objid::bigint) = hashtextextended('build/' || projection, 0)
    ) AS held
FROM write.builds
ORDER BY projection, state = 'running', id DESC;
