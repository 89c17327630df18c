-- name: create_tables#
-- Two frameworks may offer a model of the same name.
CREATE TABLE models (
    name text NOT NULL,
    framework text NOT NULL,
    task_types text[] NOT NULL,
    description text,
    parameters bigint,
    registered_at timestamptz NOT NULL,
    -- The event's data, whole.
    document jsonb NOT NULL,
    PRIMARY KEY (name, framework)
);

-- name: save*!
INSERT INTO models (name, framework, task_types, description, parameters, registered_at, document)
VALUES (:name, :framework, :task_types, :description, :parameters, :registered_at, :document)
ON CONFLICT (name, framework) DO UPDATE SET
    task_types = excluded.task_types, description = excluded.description, parameters = excluded.parameters,
    registered_at = excluded.registered_at, document = excluded.document;
