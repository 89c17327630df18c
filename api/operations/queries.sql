-- name: read_models
SELECT projection, schema_name, version FROM write.read_models WHERE state = 'live' ORDER BY projection;

-- name: workers
SELECT process, host, pid, seen_at, extract(epoch FROM now() - seen_at)::float8 AS age_s FROM write.workers;

-- name: outbox_unsent^
SELECT count(*) AS unsent, COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s
FROM write.outbox WHERE sent_at IS NULL;

-- name: builds
-- Versions that are built beside the live ones, by read model.
SELECT projection, count(*) AS builds FROM write.read_models WHERE state = 'building' GROUP BY projection;
