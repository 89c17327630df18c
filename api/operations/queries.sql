-- name: read_models
SELECT projection, schema_name, version FROM write.read_models WHERE state = 'live' ORDER BY projection;

-- name: workers
SELECT process, host, pid, seen_at, extract(epoch FROM now() - seen_at)::float8 AS age_s FROM write.workers;

-- name: outbox_unsent$
SELECT count(*) FROM write.outbox WHERE sent_at IS NULL;
