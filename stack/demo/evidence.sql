-- name: live_schema$
SELECT schema_name FROM write.read_models WHERE projection = :projection AND state = 'live';

-- name: marks
SELECT high, gaps FROM session_marks WHERE job_id = :job_id AND topic = :topic;

-- name: dead_letters$
SELECT count(*) FROM dead_letters WHERE key = :key;

-- name: job_event_rows$
SELECT count(*) FROM job_events WHERE job_id = :job_id;

-- name: checkpoint_rows$
SELECT count(*) FROM training_checkpoints WHERE job_id = :job_id;

-- name: metric_points$
SELECT COALESCE(sum(points), 0)::bigint FROM metric_chunks WHERE job_id = :job_id;

-- name: log_lines$
SELECT count(*) FROM training_logs WHERE job_id = :job_id;

-- name: mirrored_points$
SELECT COALESCE(sum(points), 0)::bigint FROM mlflow_mirrored WHERE job_id = :job_id;
