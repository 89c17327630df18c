-- What `python -m projections rebuild` and `verify` need to know, and what people who watch them want to see.

ALTER TABLE write.read_models
    -- Of a version that is being built: statements of the indexes that it gets once its rows are there.
    ADD COLUMN deferred_indexes text[] NOT NULL DEFAULT '{}',
    -- Fingerprint of the code that began to build it: other code does not go on with it.
    ADD COLUMN code text,
    -- By partition, the first offset that could be read, where older records had expired: rows of those were taken over
    -- from the version that was live.
    ADD COLUMN expired_before jsonb NOT NULL DEFAULT '{}';

CREATE TABLE write.builds (
    -- One row a run of rebuild or verify over one read model; the newest ones are kept. Nothing is decided by it.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection text NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('rebuild', 'verify', 'flip-back')),
    schema_name text,
    state text NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted')),
    phase text NOT NULL,
    events_done bigint NOT NULL DEFAULT 0,
    events_total bigint NOT NULL DEFAULT 0,
    events_per_second double precision,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    result jsonb
);
CREATE INDEX builds_projection ON write.builds (projection, id DESC);
