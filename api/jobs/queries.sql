-- name: best_metrics
-- Of each job the best finite value per epoch of its primary metric: the first of its names that was reported at all.
SELECT job.id AS job_id, best.name, best.value, best.epoch
FROM training_jobs AS job
CROSS JOIN LATERAL (
    SELECT reported.name, reported.value, reported.epoch
    FROM unnest(job.primary_metrics) WITH ORDINALITY AS wanted (name, position)
    JOIN metric_epochs AS reported ON reported.job_id = job.id AND reported.name = wanted.name
    WHERE reported.value NOT IN ('NaN', 'Infinity', '-Infinity')
    ORDER BY
        wanted.position, CASE WHEN job.primary_metric_mode = 'min' THEN reported.value ELSE -reported.value END,
        reported.epoch
    LIMIT 1
) AS best
WHERE job.id = ANY(:job_ids::bigint[]);

-- name: mlflow_runs
SELECT job_id, run_id, experiment_id FROM mlflow_runs WHERE job_id = ANY(:job_ids::bigint[]);

-- name: checkpoints
-- A job's events lie in one partition: the offset is unique among them.
SELECT log_offset AS id, attempt, epoch, checkpoint_path, object_uri, is_best, metrics, file_size_bytes, sha256,
    resumable, step, saved_at
FROM training_checkpoints WHERE job_id = :job_id AND (:until::bigint IS NULL OR log_offset <= :until)
ORDER BY log_offset LIMIT :limit OFFSET :offset;

-- name: count_checkpoints$
SELECT count(*) FROM training_checkpoints WHERE job_id = :job_id AND (:until::bigint IS NULL OR log_offset <= :until);

-- name: checkpoint^
SELECT object_uri, checkpoint_path, sha256 FROM training_checkpoints WHERE job_id = :job_id AND log_offset = :id;

-- name: artifacts
SELECT log_offset AS id, attempt, name, kind, epoch, object_uri, content_type, file_size_bytes, sha256, saved_at
FROM training_artifacts
WHERE job_id = :job_id AND (:kind::text IS NULL OR kind = :kind) AND (:until::bigint IS NULL OR log_offset <= :until)
ORDER BY log_offset LIMIT :limit OFFSET :offset;

-- name: count_artifacts$
SELECT count(*) FROM training_artifacts
WHERE job_id = :job_id AND (:kind::text IS NULL OR kind = :kind) AND (:until::bigint IS NULL OR log_offset <= :until);

-- name: artifact^
SELECT object_uri, name, content_type, sha256 FROM training_artifacts WHERE job_id = :job_id AND log_offset = :id;
