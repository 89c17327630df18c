-- name: create_tables#
CREATE TABLE datasets (
    id bigint PRIMARY KEY,
    external_id text,
    name text NOT NULL,
    description text,
    task_types text[] NOT NULL,
    total_images bigint NOT NULL,
    storage_path text NOT NULL,
    created_at timestamptz NOT NULL,
    -- The event's data, whole.
    document jsonb NOT NULL
);
CREATE INDEX datasets_name ON datasets USING gin (name public.gin_trgm_ops);

-- name: save*!
INSERT INTO datasets (id, external_id, name, description, task_types, total_images, storage_path, created_at, document)
VALUES (:id, :external_id, :name, :description, :task_types, :total_images, :storage_path, :created_at, :document)
ON CONFLICT (id) DO UPDATE SET
    external_id = excluded.external_id, name = excluded.name, description = excluded.description,
    task_types = excluded.task_types, total_images = excluded.total_images, storage_path = excluded.storage_path,
    document = excluded.document;
