-- name: create_tables#
CREATE TABLE early_stop_attempts (
    -- One row an attempt. ``settings`` as its session gave them, ``ignored`` why a key of them is left out.
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    settings jsonb,
    ignored text[] NOT NULL,
    opened_offset bigint NOT NULL,
    -- What the rules remember (projections/early_stop/rules.py: State); of an attempt that nobody watches nothing.
    watched boolean NOT NULL,
    state jsonb,
    PRIMARY KEY (job_id, attempt)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
CREATE TABLE early_stop_decisions (
    -- At most one an attempt. ``partition`` and ``log_offset``: of the report on training.metrics that decided it.
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    rule text NOT NULL,
    decision_id uuid NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    decided_at timestamptz NOT NULL,
    decision jsonb NOT NULL,
    PRIMARY KEY (job_id, attempt)
);
CREATE TABLE early_stop_past (
    -- What the log held already when this read model was made: read for the record, nobody is told to stop.
    partition integer PRIMARY KEY,
    end_offset bigint NOT NULL
);

-- name: attempts_of
SELECT attempt, settings, state FROM early_stop_attempts WHERE job_id = :job_id ORDER BY attempt;

-- name: open_attempt!
INSERT INTO early_stop_attempts (job_id, attempt, settings, ignored, opened_offset, watched, state)
VALUES (:job_id, :attempt, :settings, :ignored, :opened_offset, :watched, :state)
ON CONFLICT (job_id, attempt) DO UPDATE
SET settings = excluded.settings, ignored = excluded.ignored, watched = excluded.watched, state = excluded.state;

-- name: watched
-- The newest attempt of each job, where somebody wants it watched.
SELECT job_id, attempt, settings, state
FROM (
    SELECT DISTINCT ON (job_id) job_id, attempt, settings, state, watched
    FROM early_stop_attempts
    WHERE job_id = ANY(:job_ids::bigint[])
    ORDER BY job_id, attempt DESC
) AS newest
WHERE watched;

-- name: save_states*!
UPDATE early_stop_attempts SET state = :state WHERE job_id = :job_id AND attempt = :attempt;

-- name: save_decision!
INSERT INTO early_stop_decisions
    (job_id, attempt, rule, decision_id, partition, log_offset, decided_at, decision)
VALUES (:job_id, :attempt, :rule, :decision_id, :partition, :log_offset, :decided_at, :decision);

-- name: past_end$
SELECT COALESCE(max(end_offset), 0) FROM early_stop_past WHERE partition = :partition;

-- name: note_past*!
INSERT INTO early_stop_past (partition, end_offset) VALUES (:partition, :end_offset);

-- name: forget_job!
WITH decisions AS (DELETE FROM early_stop_decisions WHERE job_id = :job_id)
DELETE FROM early_stop_attempts WHERE job_id = :job_id;
