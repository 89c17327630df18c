-- name: create_tables#
CREATE TABLE heartbeats (
    job_id bigint PRIMARY KEY,
    attempt integer NOT NULL,
    last_seen timestamptz NOT NULL
);
CREATE TABLE system_samples (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    rank integer NOT NULL,
    time timestamptz NOT NULL,
    data jsonb NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    PRIMARY KEY (partition, log_offset)
);
CREATE INDEX system_samples_job ON system_samples (job_id, time);
CREATE TABLE system_trail (
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
CREATE INDEX system_trail_dropped ON system_trail (job_id) WHERE type = 'training.events.dropped.v1';

-- name: see*!
INSERT INTO heartbeats (job_id, attempt, last_seen) VALUES (:job_id, :attempt, :last_seen)
ON CONFLICT (job_id) DO UPDATE SET
    attempt = excluded.attempt, last_seen = GREATEST(excluded.last_seen, CASE
        WHEN heartbeats.attempt = excluded.attempt THEN heartbeats.last_seen
    END)
-- A process of an older attempt that still sends is no sign of life.
WHERE excluded.attempt >= heartbeats.attempt;

-- name: append*!
INSERT INTO system_samples (job_id, attempt, rank, time, data, partition, log_offset)
VALUES (:job_id, :attempt, :rank, :time, :data, :partition, :log_offset);

-- name: forget_job!
WITH
    beats AS (DELETE FROM heartbeats WHERE job_id = :job_id),
    trail AS (DELETE FROM system_trail WHERE job_id = :job_id)
DELETE FROM system_samples WHERE job_id = :job_id;
