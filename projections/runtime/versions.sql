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

-- name: hold_live^
-- Shared: many batches at once, none while readers switch to another version.
SELECT schema_name, version, build FROM write.read_models
WHERE projection = :projection AND state = 'live'
FOR SHARE;

-- name: building^
SELECT schema_name, version, build FROM write.read_models
WHERE projection = :projection AND version = :version AND state = 'building'
ORDER BY build DESC LIMIT 1;

-- name: try_build_lock$
SELECT pg_try_advisory_lock(hashtextextended('build/' || :projection, 0));

-- name: lock_model
SELECT 1 FROM write.read_models WHERE schema_name = :schema_name FOR UPDATE;

-- name: set_state!
UPDATE write.read_models
SET state = :state, flipped_at = CASE WHEN :state = 'live' THEN now() ELSE flipped_at END
WHERE schema_name = :schema_name;

-- name: unused
SELECT schema_name FROM write.read_models
WHERE projection = :projection AND (state = 'retired' OR (state = 'building' AND version <> :version));

-- name: forget!
DELETE FROM write.read_models WHERE schema_name = :schema_name;
