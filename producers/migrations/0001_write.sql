-- Schema `write`: what is not computed from the log. It is never rebuilt; read models live in schemas of their own.

CREATE TABLE write.installation (
    -- One row: names the sessions of this database's outbox, so that two databases never share one.
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO write.installation DEFAULT VALUES;

CREATE SEQUENCE write.job_ids AS bigint;
CREATE SEQUENCE write.dataset_ids AS bigint;

CREATE TABLE write.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    job_id bigint,
    type text NOT NULL,
    time timestamptz NOT NULL,
    source text NOT NULL,
    attempt integer NOT NULL,
    session text NOT NULL,
    data bytea NOT NULL,
    -- A repeat finds the first one's row and gets its answer; only the first row of a command carries them.
    receipt_key text UNIQUE,
    request_hash text,
    answer jsonb,
    -- Given by the relay before it sends; the same on every further try.
    seq bigint,
    partition integer,
    log_offset bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);
CREATE INDEX outbox_unsent ON write.outbox (id) WHERE sent_at IS NULL;
CREATE INDEX outbox_job ON write.outbox (job_id, topic, id) WHERE job_id IS NOT NULL;
CREATE INDEX outbox_key ON write.outbox (topic, key, id) WHERE job_id IS NULL;
CREATE UNIQUE INDEX outbox_seq ON write.outbox (session, topic, seq);

CREATE TABLE write.outbox_sessions (
    -- The last number that the relay gave, kept for ever: rows of the outbox are pruned, numbers are never reused.
    session text NOT NULL,
    topic text NOT NULL,
    last_seq bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (session, topic)
);

CREATE FUNCTION write.notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('outbox', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_notify AFTER INSERT ON write.outbox
    FOR EACH STATEMENT EXECUTE FUNCTION write.notify_outbox();

CREATE TABLE write.leases (
    -- Who runs which attempt. A lease that ran out may be taken over.
    job_id bigint PRIMARY KEY,
    attempt integer NOT NULL,
    launcher text NOT NULL,
    expires_at timestamptz NOT NULL,
    run_folder text,
    supervisor_pid integer,
    supervisor_start bigint
);

CREATE TABLE write.read_models (
    -- Which schema holds which read model. Readers put the live ones on their search_path.
    schema_name text PRIMARY KEY,
    projection text NOT NULL,
    version integer NOT NULL,
    build integer NOT NULL,
    state text NOT NULL CHECK (state IN ('live', 'building', 'retired')),
    created_at timestamptz NOT NULL DEFAULT now(),
    flipped_at timestamptz,
    UNIQUE (projection, version, build)
);
CREATE UNIQUE INDEX read_models_one_live ON write.read_models (projection) WHERE state = 'live';

CREATE TABLE write.workers (
    -- Signs of life of the projection processes.
    process text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (process, host, pid)
);
