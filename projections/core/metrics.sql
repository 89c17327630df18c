-- name: create_tables#
CREATE TABLE metric_attempts (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    -- First step that the attempt writes again, and the epochs done before it. 0: it begins anew; NULL: nobody said.
    resume_step bigint,
    resume_epoch bigint,
    -- Of the session's opening that said so: before it, nothing was superseded by the attempt.
    opened_offset bigint NOT NULL,
    PRIMARY KEY (job_id, attempt)
);
-- Whether a point of an older attempt is superseded by the opening of a newer one: what was reported for an epoch as a
-- whole (step NaN or Infinity) by its epoch; a step by its number, or by its epoch where no step was said.
-- api/metrics/series.py has the same rule over arrays.
CREATE FUNCTION supersedes(newer metric_attempts, step double precision, epoch double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN step < 'Infinity' AND (newer).resume_step IS NOT NULL THEN step >= (newer).resume_step
    ELSE epoch <> 'NaN' AND epoch > (newer).resume_epoch
END;
CREATE TABLE metric_series (
    -- One row a series and attempt: its latest point, its range, and where its last chunk stands.
    job_id bigint NOT NULL,
    name text NOT NULL,
    attempt integer NOT NULL,
    points bigint NOT NULL,
    tail_chunk bigint NOT NULL,
    tail_points integer NOT NULL,
    last_step double precision NOT NULL,
    last_epoch double precision NOT NULL,
    last_time double precision NOT NULL,
    last_value double precision NOT NULL,
    value_min double precision,
    value_max double precision,
    PRIMARY KEY (job_id, name, attempt)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
CREATE TABLE metric_chunks (
    -- About a thousand points a row. NaN in steps or epochs means that the report named none.
    job_id bigint NOT NULL,
    name text NOT NULL,
    attempt integer NOT NULL,
    chunk bigint NOT NULL,
    points integer NOT NULL,
    steps double precision[] NOT NULL,
    epochs double precision[] NOT NULL,
    times double precision[] NOT NULL,
    "values" double precision[] NOT NULL,
    -- Of the record that each point came in: its offset and the broker's append time (Unix seconds).
    log_offsets bigint[] NOT NULL,
    append_times double precision[] NOT NULL,
    value_min double precision,
    value_max double precision,
    PRIMARY KEY (job_id, name, attempt, chunk)
);
-- Compressing arrays of floats gains little and costs a third of the write speed.
ALTER TABLE metric_chunks ALTER steps SET STORAGE EXTERNAL;
ALTER TABLE metric_chunks ALTER epochs SET STORAGE EXTERNAL;
ALTER TABLE metric_chunks ALTER times SET STORAGE EXTERNAL;
ALTER TABLE metric_chunks ALTER "values" SET STORAGE EXTERNAL;
ALTER TABLE metric_chunks ALTER log_offsets SET STORAGE EXTERNAL;
ALTER TABLE metric_chunks ALTER append_times SET STORAGE EXTERNAL;
CREATE TABLE metric_epochs (
    -- One value a series and epoch (core/epochs.py). Step Infinity: reported for the epoch as a whole.
    job_id bigint NOT NULL,
    name text NOT NULL,
    epoch bigint NOT NULL,
    attempt integer NOT NULL,
    step double precision NOT NULL,
    log_offset bigint NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (job_id, name, epoch)
);
CREATE TABLE metric_gaps (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    dropped bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (partition, log_offset)
);
CREATE TABLE metric_trail (
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
CREATE INDEX metric_trail_dropped ON metric_trail (job_id) WHERE type = 'training.events.dropped.v1';
-- For people with psql: one row a point.
CREATE VIEW training_metrics AS
SELECT
    chunks.job_id,
    chunks.attempt,
    chunks.name,
    NULLIF(point.step, 'NaN')::bigint AS step,
    NULLIF(point.epoch, 'NaN')::bigint AS epoch,
    to_timestamp(point.time) AS time,
    point.value,
    EXISTS (
        SELECT 1 FROM metric_attempts AS newer
        WHERE newer.job_id = chunks.job_id
          AND newer.attempt > chunks.attempt
          AND supersedes(newer, point.step, point.epoch)
    ) AS superseded,
    point.log_offset
FROM metric_chunks AS chunks,
    unnest(chunks.steps, chunks.epochs, chunks.times, chunks."values", chunks.log_offsets)
        AS point (step, epoch, time, value, log_offset);

-- name: open_attempt*!
-- The first session of the attempt that says where it goes on counts.
INSERT INTO metric_attempts (job_id, attempt, resume_step, resume_epoch, opened_offset)
VALUES (:job_id, :attempt, :resume_step, :resume_epoch, :opened_offset)
ON CONFLICT (job_id, attempt) DO UPDATE SET
    resume_step = excluded.resume_step, resume_epoch = excluded.resume_epoch, opened_offset = excluded.opened_offset
WHERE metric_attempts.resume_step IS NULL AND metric_attempts.resume_epoch IS NULL;

-- name: forget_superseded*!
DELETE FROM metric_epochs AS older
USING metric_attempts AS newer
WHERE older.job_id = :job_id
  AND newer.job_id = :job_id
  AND newer.attempt = :attempt
  AND older.attempt < newer.attempt
  AND supersedes(newer, older.step, older.epoch);

-- name: save_epochs*!
INSERT INTO metric_epochs (job_id, name, epoch, attempt, step, log_offset, value)
SELECT :job_id, :name, :epoch::bigint, :attempt, :step::double precision, :log_offset, :value
WHERE NOT EXISTS (
    SELECT 1 FROM metric_attempts AS newer
    WHERE newer.job_id = :job_id
      AND newer.attempt > :attempt
      AND supersedes(newer, :step::double precision, :epoch::bigint)
)
ON CONFLICT (job_id, name, epoch) DO UPDATE SET
    attempt = excluded.attempt, step = excluded.step, log_offset = excluded.log_offset, value = excluded.value
WHERE (metric_epochs.attempt, metric_epochs.step, metric_epochs.log_offset)
    <= (excluded.attempt, excluded.step, excluded.log_offset);

-- name: note_gap*!
INSERT INTO metric_gaps (job_id, attempt, partition, log_offset, dropped, reason)
VALUES (:job_id, :attempt, :partition, :log_offset, :dropped, :reason);

-- name: tails
SELECT series.job_id, series.name, series.attempt, series.tail_chunk, series.tail_points
FROM metric_series AS series
JOIN unnest(:job_ids::bigint[], :names::text[], :attempts::integer[]) AS wanted (job_id, name, attempt)
    USING (job_id, name, attempt);

-- name: lengthen_chunks*!
-- Points for chunks that are not full yet; new chunks are copied in.
UPDATE metric_chunks SET
    points = metric_chunks.points + :points,
    steps = metric_chunks.steps || :steps::double precision[],
    epochs = metric_chunks.epochs || :epochs::double precision[],
    times = metric_chunks.times || :times::double precision[],
    "values" = metric_chunks."values" || :values::double precision[],
    log_offsets = metric_chunks.log_offsets || :log_offsets::bigint[],
    append_times = metric_chunks.append_times || :append_times::double precision[],
    value_min = LEAST(metric_chunks.value_min, :value_min::double precision),
    value_max = GREATEST(metric_chunks.value_max, :value_max::double precision)
WHERE job_id = :job_id AND name = :name AND attempt = :attempt AND chunk = :chunk;

-- name: save_series*!
INSERT INTO metric_series (
    job_id, name, attempt, points, tail_chunk, tail_points, last_step, last_epoch, last_time, last_value, value_min,
    value_max
) VALUES (
    :job_id, :name, :attempt, :points, :tail_chunk, :tail_points, :last_step, :last_epoch, :last_time, :last_value,
    :value_min, :value_max
)
ON CONFLICT (job_id, name, attempt) DO UPDATE SET
    points = metric_series.points + excluded.points,
    tail_chunk = excluded.tail_chunk,
    tail_points = excluded.tail_points,
    last_step = excluded.last_step,
    last_epoch = excluded.last_epoch,
    last_time = excluded.last_time,
    last_value = excluded.last_value,
    value_min = LEAST(metric_series.value_min, excluded.value_min),
    value_max = GREATEST(metric_series.value_max, excluded.value_max);

-- name: forget_job!
WITH
    attempts AS (DELETE FROM metric_attempts WHERE job_id = :job_id),
    series AS (DELETE FROM metric_series WHERE job_id = :job_id),
    epochs AS (DELETE FROM metric_epochs WHERE job_id = :job_id),
    gaps AS (DELETE FROM metric_gaps WHERE job_id = :job_id),
    trail AS (DELETE FROM metric_trail WHERE job_id = :job_id)
DELETE FROM metric_chunks WHERE job_id = :job_id;
