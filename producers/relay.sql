-- name: try_lock$
SELECT pg_try_advisory_lock(4711002);

-- name: listen!
LISTEN outbox;
