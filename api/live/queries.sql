-- name: offsets
-- Where each topic's read models stand in one partition: a snapshot holds what all of them hold.
SELECT 'training.jobs' AS topic, LEAST(
    COALESCE((SELECT next_offset FROM jobs_offsets WHERE partition = :partition), 0),
    COALESCE((SELECT next_offset FROM checkpoints_offsets WHERE partition = :partition), 0)
) AS next_offset
UNION ALL
SELECT 'training.metrics', COALESCE((SELECT next_offset FROM metrics_offsets WHERE partition = :partition), 0)
UNION ALL
SELECT 'training.logs', COALESCE((SELECT next_offset FROM logs_offsets WHERE partition = :partition), 0);

-- name: marks
SELECT topic, session, high, gaps FROM jobs_session_marks WHERE job_id = :job_id
UNION ALL
SELECT topic, session, high, gaps FROM metrics_session_marks WHERE job_id = :job_id
UNION ALL
SELECT topic, session, high, gaps FROM logs_session_marks WHERE job_id = :job_id;

-- name: latest
SELECT DISTINCT ON (name) name, last_step, last_epoch, last_time, last_value
FROM metric_series WHERE job_id = :job_id ORDER BY name, attempt DESC LIMIT 1000;
