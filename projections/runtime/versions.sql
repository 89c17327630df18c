-- name: live^
SELECT schema_name, version, build FROM write.read_models WHERE projection = :projection AND state = 'live';

-- name: lock_registry
SELECT pg_advisory_xact_lock(4711003);

-- name: register!
INSERT INTO write.read_models (schema_name, projection, version, build, state)
VALUES (:schema_name, :projection, :version, :build, :state);

-- name: next_build$
SELECT COALESCE(max(build), 0) + 1 FROM write.read_models WHERE projection = :projection AND version = :version;

-- name: all_live
SELECT projection, schema_name, version FROM write.read_models WHERE state = 'live' ORDER BY projection;
