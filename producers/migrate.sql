-- name: prepare_schema#
CREATE SCHEMA IF NOT EXISTS write;
CREATE TABLE IF NOT EXISTS write.schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: lock_migrations
SELECT pg_advisory_xact_lock(4711001);

-- name: applied_migrations
SELECT version, name, sha256 FROM write.schema_migrations ORDER BY version;

-- name: record_migration!
INSERT INTO write.schema_migrations (version, name, sha256) VALUES (:version, :name, :sha256);

-- name: raise_job_ids
SELECT setval('write.job_ids', :highest) WHERE :highest >= (SELECT last_value FROM write.job_ids);

-- name: raise_dataset_ids
SELECT setval('write.dataset_ids', :highest) WHERE :highest >= (SELECT last_value FROM write.dataset_ids);

-- name: place$
SELECT concat_ws(
    '/',
    (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    (SELECT timeline_id FROM pg_control_checkpoint())
);

-- name: noted_place$
SELECT place FROM write.installation;

-- name: note_place!
UPDATE write.installation SET place = :place, id = CASE WHEN :renew THEN gen_random_uuid() ELSE id END;

-- name: forget_lost
DELETE FROM write.read_models
WHERE NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = schema_name)
RETURNING schema_name;
