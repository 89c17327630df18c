-- name: create_tables#
CREATE TABLE training_logs (
    -- ((offset * partitions) + partition) * lines a record may hold + line: the same at every replay.
    id bigint PRIMARY KEY,
    job_id bigint NOT NULL,
    level varchar(10) NOT NULL,
    message text NOT NULL,
    timestamp timestamptz NOT NULL,
    source varchar(20) NOT NULL DEFAULT 'trainer',
    metadata jsonb,
    created_at timestamptz NOT NULL,
    attempt integer NOT NULL,
    rank integer NOT NULL
);
CREATE INDEX idx_training_logs_job_id ON training_logs (job_id, timestamp, id);
CREATE INDEX idx_training_logs_level ON training_logs (job_id, level);
CREATE INDEX idx_training_logs_message ON training_logs USING gin (message public.gin_trgm_ops);
CREATE TABLE log_trail (
    -- One row an event (core/trail.py). A job's events lie in one partition.
    job_id bigint NOT NULL,
    log_offset bigint NOT NULL,
    partition integer NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL,
    append_time timestamptz NOT NULL,
    attempt integer NOT NULL,
    rank integer NOT NULL,
    session text NOT NULL,
    seq bigint NOT NULL,
    source text NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (job_id, append_time, log_offset)
);
-- What senders had to leave out: rare, and asked for by whoever looks at an ended job.
CREATE INDEX log_trail_dropped ON log_trail (job_id) WHERE type = 'training.events.dropped.v1';

-- name: forget_job!
WITH trail AS (DELETE FROM log_trail WHERE job_id = :job_id)
DELETE FROM training_logs WHERE job_id = :job_id;
