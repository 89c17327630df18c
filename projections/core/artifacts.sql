-- name: create_tables#
CREATE TABLE training_artifacts (
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    partition integer NOT NULL,
    -- Unique within a job, whose events all lie in one partition: clients know the artifact by it.
    log_offset bigint NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    epoch bigint,
    object_uri text NOT NULL,
    content_type text,
    file_size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (partition, log_offset)
);
CREATE INDEX training_artifacts_job ON training_artifacts (job_id, log_offset);

-- name: append*!
INSERT INTO training_artifacts (
    job_id, attempt, partition, log_offset, name, kind, epoch, object_uri, content_type, file_size_bytes, sha256,
    saved_at
) VALUES (
    :job_id, :attempt, :partition, :log_offset, :name, :kind, :epoch, :object_uri, :content_type, :file_size_bytes,
    :sha256, :saved_at
);

-- name: forget_job!
DELETE FROM training_artifacts WHERE job_id = :job_id;
