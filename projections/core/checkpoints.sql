-- name: create_tables#
CREATE TABLE training_checkpoints (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    epoch bigint,
    checkpoint_path text NOT NULL,
    object_uri text,
    is_best boolean NOT NULL,
    metrics jsonb,
    file_size_bytes bigint,
    sha256 text,
    resumable boolean,
    step bigint,
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (partition, log_offset)
);
CREATE INDEX training_checkpoints_job ON training_checkpoints (job_id, log_offset);

-- name: append*!
INSERT INTO training_checkpoints (
    job_id, attempt, partition, log_offset, epoch, checkpoint_path, object_uri, is_best, metrics, file_size_bytes,
    sha256, resumable, step, saved_at
) VALUES (
    :job_id, :attempt, :partition, :log_offset, :epoch, :checkpoint_path, :object_uri, :is_best, :metrics,
    :file_size_bytes, :sha256, :resumable, :step, :saved_at
);

-- name: forget_job!
DELETE FROM training_checkpoints WHERE job_id = :job_id;
