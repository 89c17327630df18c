-- name: create_tables#
CREATE TABLE training_jobs (
    id bigint PRIMARY KEY,
    name text,
    model_name text,
    framework text,
    task_type text,
    dataset_id bigint,
    state text NOT NULL,
    status text NOT NULL,
    tags text[] NOT NULL,
    -- Name, description, notes, model and tags, a line each.
    search_text text NOT NULL,
    -- Series of which the first one that is reported says how good the job is (events/primary_metric.py).
    primary_metrics text[] NOT NULL,
    primary_metric_mode text NOT NULL,
    created_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    -- Failed, and the launcher is to try again.
    awaits_retry boolean NOT NULL,
    -- Hidden from lists since then.
    deleted_at timestamptz,
    -- The whole fold (events/evolution.py); the columns above are for finding it.
    job jsonb NOT NULL,
    log_partition integer NOT NULL,
    log_offset bigint NOT NULL
);
CREATE INDEX training_jobs_created ON training_jobs (created_at DESC, id DESC);
CREATE INDEX training_jobs_tags ON training_jobs USING gin (tags);
CREATE INDEX training_jobs_search ON training_jobs USING gin (search_text public.gin_trgm_ops);
CREATE INDEX training_jobs_open ON training_jobs (id)
    WHERE state NOT IN ('completed', 'stopped', 'failed') OR awaits_retry;

CREATE TABLE job_events (
    job_id bigint NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL,
    append_time timestamptz NOT NULL,
    attempt integer NOT NULL,
    rank integer NOT NULL,
    session text NOT NULL,
    seq bigint NOT NULL,
    source text NOT NULL,
    data jsonb NOT NULL,
    -- NULL where nothing was known of the job.
    state_before text,
    -- After the event, as is the whole job; why the event changed nothing, where it did not.
    state text NOT NULL,
    job jsonb,
    ignored_reason text,
    PRIMARY KEY (partition, log_offset)
);
CREATE INDEX job_events_job ON job_events (job_id, log_offset);
CREATE INDEX job_events_trail ON job_events (job_id, append_time, log_offset);

-- name: load
SELECT id, job FROM training_jobs WHERE id = ANY(:job_ids::bigint[]) FOR UPDATE;

-- name: save*!
INSERT INTO training_jobs (
    id, name, model_name, framework, task_type, dataset_id, state, status, tags, search_text, primary_metrics,
    primary_metric_mode, created_at, started_at, completed_at, awaits_retry, deleted_at, job, log_partition,
    log_offset
) VALUES (
    :id, :name, :model_name, :framework, :task_type, :dataset_id, :state, :status, :tags, :search_text,
    :primary_metrics, :primary_metric_mode, :created_at, :started_at, :completed_at, :awaits_retry, :deleted_at, :job,
    :log_partition, :log_offset
)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, model_name = excluded.model_name, framework = excluded.framework,
    task_type = excluded.task_type, dataset_id = excluded.dataset_id, state = excluded.state,
    status = excluded.status, tags = excluded.tags, search_text = excluded.search_text,
    primary_metrics = excluded.primary_metrics, primary_metric_mode = excluded.primary_metric_mode,
    created_at = excluded.created_at, started_at = excluded.started_at, completed_at = excluded.completed_at,
    awaits_retry = excluded.awaits_retry, deleted_at = excluded.deleted_at, job = excluded.job,
    log_partition = excluded.log_partition, log_offset = excluded.log_offset;

-- name: append_events*!
INSERT INTO job_events (
    job_id, partition, log_offset, type, time, append_time, attempt, rank, session, seq, source, data, state_before,
    state, job, ignored_reason
) VALUES (
    :job_id, :partition, :log_offset, :type, :time, :append_time, :attempt, :rank, :session, :seq, :source, :data,
    :state_before, :state, :job, :ignored_reason
);

-- name: forget_job!
WITH trail AS (DELETE FROM job_events WHERE job_id = :job_id)
DELETE FROM training_jobs WHERE id = :job_id;
