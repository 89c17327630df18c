-- name: read_models
-- Which read models have erased the job, and what they could not erase.
SELECT 'jobs' AS read_model, 'training.jobs' AS topic, last_record_at, remains
FROM jobs_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'artifacts', 'training.jobs', last_record_at, remains FROM artifacts_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'checkpoints', 'training.jobs', last_record_at, remains FROM checkpoints_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'metrics', 'training.metrics', last_record_at, remains FROM metrics_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'logs', 'training.logs', last_record_at, remains FROM logs_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'system', 'training.system', last_record_at, remains FROM system_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'early-stop', 'training.metrics', last_record_at, remains FROM early_stop_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'mlflow-runs', 'training.jobs', last_record_at, remains FROM mlflow_runs_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT 'mlflow-metrics', 'training.metrics', last_record_at, remains
FROM mlflow_metrics_purged_jobs WHERE job_id = :job_id;

-- name: outside^
SELECT objects_erased_at, objects, outbox_erased_at, swept_at, swept_by, problem
FROM write.purges WHERE job_id = :job_id;

-- name: archive
-- Of each topic that has something in the archive: since when that holds nothing of the job.
SELECT parts.topic, forgotten.done_at
FROM (SELECT DISTINCT topic FROM write.archive_parts WHERE topic = ANY(:topics::text[])) AS parts
LEFT JOIN write.archive_forgotten AS forgotten ON forgotten.topic = parts.topic AND forgotten.job_id = :job_id
ORDER BY parts.topic;
