-- name: create_tables#
CREATE TABLE models (
    name text PRIMARY KEY,
    framework text NOT NULL,
    task_types text[] NOT NULL,
    description text,
    capability jsonb NOT NULL,
    registered_at timestamptz NOT NULL
);

-- name: save*!
INSERT INTO models (name, framework, task_types, description, capability, registered_at)
VALUES (:name, :framework, :task_types, :description, :capability, :registered_at)
ON CONFLICT (name) DO UPDATE SET
    framework = excluded.framework, task_types = excluded.task_types, description = excluded.description,
    capability = excluded.capability, registered_at = excluded.registered_at;
