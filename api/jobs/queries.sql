-- name: list_jobs
SELECT id
FROM training_jobs
WHERE created_at IS NOT NULL
  AND (:status::text IS NULL OR status = :status)
  AND (:search::text IS NULL OR name ILIKE '%' || :search || '%' OR model_name ILIKE '%' || :search || '%')
  AND (:dataset_id::bigint IS NULL OR dataset_id = :dataset_id)
ORDER BY created_at DESC, id DESC
LIMIT :limit OFFSET :offset;

-- name: count_jobs$
SELECT count(*)
FROM training_jobs
WHERE created_at IS NOT NULL
  AND (:status::text IS NULL OR status = :status)
  AND (:search::text IS NULL OR name ILIKE '%' || :search || '%' OR model_name ILIKE '%' || :search || '%')
  AND (:dataset_id::bigint IS NULL OR dataset_id = :dataset_id);

-- name: unapplied_new_jobs
-- Jobs that were created but that the read model does not know yet.
SELECT DISTINCT outbox.job_id AS id
FROM write.outbox
LEFT JOIN training_jobs AS job ON job.id = outbox.job_id AND job.created_at IS NOT NULL
WHERE outbox.type = 'training.job.created.v1'
  AND job.id IS NULL
  AND (outbox.sent_at IS NULL OR outbox.sent_at > now() - interval '1 day')
ORDER BY 1 DESC
LIMIT 1000;

-- name: mlflow_runs
SELECT job_id, run_id, experiment_id FROM mlflow_runs WHERE job_id = ANY(:job_ids::bigint[]);

-- name: checkpoints
-- A job's events lie in one partition: the offset is unique among them.
SELECT log_offset AS id, attempt, epoch, checkpoint_path, object_uri, is_best, metrics, file_size_bytes, sha256,
    resumable, step, saved_at
FROM training_checkpoints WHERE job_id = :job_id ORDER BY log_offset LIMIT :limit OFFSET :offset;

-- name: count_checkpoints$
SELECT count(*) FROM training_checkpoints WHERE job_id = :job_id;

-- name: checkpoint^
SELECT object_uri, checkpoint_path, sha256 FROM training_checkpoints WHERE job_id = :job_id AND log_offset = :id;

-- name: artifacts
SELECT log_offset AS id, attempt, name, kind, epoch, object_uri, content_type, file_size_bytes, sha256, saved_at
FROM training_artifacts
WHERE job_id = :job_id AND (:kind::text IS NULL OR kind = :kind)
ORDER BY log_offset LIMIT :limit OFFSET :offset;

-- name: count_artifacts$
SELECT count(*) FROM training_artifacts WHERE job_id = :job_id AND (:kind::text IS NULL OR kind = :kind);

-- name: artifact^
SELECT object_uri, name, content_type, sha256 FROM training_artifacts WHERE job_id = :job_id AND log_offset = :id;

-- name: job_events
SELECT partition, log_offset, type, time, append_time, attempt, rank, session, seq, data, state, ignored_reason
FROM job_events
WHERE job_id = :job_id
  AND log_offset > :after
  AND (:type::text IS NULL OR type = :type)
ORDER BY log_offset
LIMIT :limit;
