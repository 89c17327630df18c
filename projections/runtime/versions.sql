-- name: live^
SELECT schema_name, version, build FROM write.read_models WHERE projection = :projection AND state = 'live';

-- name: lock_registry
SELECT pg_advisory_xact_lock(4711003);

-- name: register!
INSERT INTO write.read_models (schema_name, projection, version, build, state, deferred_indexes, code)
VALUES (:schema_name, :projection, :version, :build, :state, :deferred_indexes, :code);

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
WHERE projection = :projection AND version = :version AND state = 'building' AND code = :code
ORDER BY build DESC LIMIT 1;

-- name: retired^
SELECT schema_name, version, build FROM write.read_models
WHERE projection = :projection AND state = 'retired'
ORDER BY flipped_at DESC LIMIT 1;

-- name: plain_indexes
-- Those that no constraint needs.
SELECT class.relname AS name, pg_get_indexdef(index.indexrelid) AS statement
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
WHERE class.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema_name)
  AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = index.indexrelid)
ORDER BY class.relname;

-- name: deferred_indexes
SELECT statement
FROM write.read_models, unnest(deferred_indexes) WITH ORDINALITY AS deferred (statement, place)
WHERE schema_name = :schema_name
ORDER BY place;

-- name: index_made!
UPDATE write.read_models SET deferred_indexes = array_remove(deferred_indexes, :statement)
WHERE schema_name = :schema_name;

-- name: tables_of
SELECT relname AS name FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema_name) AND relkind = 'r'
ORDER BY relname;

-- name: size_bytes$
SELECT COALESCE(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema_name) AND relkind = 'r';

-- name: retired_just_now$
-- The first version of a read model replaced none: nobody can read what was before it.
SELECT EXISTS (
    SELECT 1 FROM write.read_models AS live JOIN write.read_models AS old USING (projection)
    WHERE projection = :projection AND live.state = 'live' AND old.state = 'retired'
      AND live.flipped_at > clock_timestamp() - interval '2 minutes'
);

-- name: clock$
SELECT clock_timestamp();

-- name: older_transactions$
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < :began;

-- name: try_build_lock$
SELECT pg_try_advisory_lock(hashtextextended('build/' || :projection, 0));

-- name: lock_model^
SELECT state FROM write.read_models WHERE schema_name = :schema_name FOR UPDATE;

-- name: set_state!
UPDATE write.read_models
SET state = :state, flipped_at = CASE WHEN :state = 'live' THEN now() ELSE flipped_at END
WHERE schema_name = :schema_name;

-- name: unused
SELECT schema_name FROM write.read_models
WHERE projection = :projection
  AND (state = 'retired' OR (state = 'building' AND (version <> :version OR code IS DISTINCT FROM :code)));

-- name: without_purged_jobs
-- Versions that were made before jobs could be purged.
SELECT schema_name, projection FROM write.read_models
WHERE to_regclass(format('%I.purged_jobs', schema_name)) IS NULL;

-- name: forget!
DELETE FROM write.read_models WHERE schema_name = :schema_name;

-- name: columns_of
-- Of its tables, not its views.
SELECT class.relname AS table, attribute.attname AS column, format_type(attribute.atttypid, attribute.atttypmod) AS type
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid
WHERE class.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema_name)
  AND class.relkind = 'r' AND attribute.attnum > 0 AND NOT attribute.attisdropped
ORDER BY class.relname, attribute.attnum;

-- name: expired_before$
SELECT expired_before FROM write.read_models WHERE schema_name = :schema_name;

-- name: note_expired!
UPDATE write.read_models SET expired_before = expired_before || :expired::jsonb WHERE schema_name = :schema_name;
