-- Tables that every version of every read model has in its own schema. They are created with that schema alone on the
-- search_path; the views at the end give them names that are unique among all live schemas.

-- name: add_purged_jobs#
-- Also to versions that are older than it: nothing of the past belongs there.
CREATE TABLE IF NOT EXISTS purged_jobs (
    -- All that is left of a purged job. Whatever still comes for it is dropped.
    job_id bigint PRIMARY KEY,
    purged_at timestamptz NOT NULL,
    requested_by text NOT NULL,
    reason text,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    -- When the log took the last record of the job, the purge itself or what came after it.
    last_record_at timestamptz NOT NULL,
    -- What could not be erased from here, and how it can be; NULL where nothing is left.
    remains text
);

-- name: create_tables#
CREATE TABLE projection_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    append_time timestamptz,
    applied_events bigint NOT NULL DEFAULT 0,
    bad_in_a_row integer NOT NULL DEFAULT 0,
    window_records integer NOT NULL DEFAULT 0,
    window_bad integer NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE session_marks (
    session text NOT NULL,
    topic text NOT NULL,
    job_id bigint,
    high bigint NOT NULL,
    gaps jsonb NOT NULL,
    PRIMARY KEY (session, topic)
);
CREATE INDEX session_marks_job ON session_marks (job_id);
CREATE TABLE dead_letters (
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    append_time timestamptz NOT NULL,
    key bytea,
    headers jsonb NOT NULL,
    value bytea,
    reason text NOT NULL,
    PRIMARY KEY (topic, partition, log_offset)
);
