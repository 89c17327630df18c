-- name: marks_of_jobs
SELECT 'jobs' AS read_model, job_id, session, high, gaps FROM jobs_session_marks
WHERE job_id = ANY(:job_ids::bigint[])
UNION ALL
SELECT 'checkpoints', job_id, session, high, gaps FROM checkpoints_session_marks
WHERE job_id = ANY(:job_ids::bigint[])
UNION ALL
SELECT 'artifacts', job_id, session, high, gaps FROM artifacts_session_marks WHERE job_id = ANY(:job_ids::bigint[])
UNION ALL
SELECT 'metrics', job_id, session, high, gaps FROM metrics_session_marks WHERE job_id = ANY(:job_ids::bigint[])
UNION ALL
SELECT 'logs', job_id, session, high, gaps FROM logs_session_marks WHERE job_id = ANY(:job_ids::bigint[]);

-- name: waiting_rows
-- Facts of the outbox that are not in every read model of their topic yet.
SELECT outbox.job_id, count(*) AS rows
FROM write.outbox
LEFT JOIN jobs_session_marks AS jobs ON jobs.session = outbox.session AND jobs.topic = outbox.topic
LEFT JOIN checkpoints_session_marks AS checkpoints
    ON checkpoints.session = outbox.session AND checkpoints.topic = outbox.topic
LEFT JOIN artifacts_session_marks AS artifacts
    ON artifacts.session = outbox.session AND artifacts.topic = outbox.topic
LEFT JOIN metrics_session_marks AS metrics ON metrics.session = outbox.session AND metrics.topic = outbox.topic
LEFT JOIN logs_session_marks AS logs ON logs.session = outbox.session AND logs.topic = outbox.topic
WHERE outbox.job_id = ANY(:job_ids::bigint[])
  -- No part of what a run did, and may come after its end: an ended job stays ended. What a decision to stop changes in
  -- a job that had ended, its state has at once. A session's opening goes before another row of it, which is looked at.
  AND outbox.type NOT IN (
      'training.job.described.v1', 'training.stop.decided.v1', 'training.job.deleted.v1', 'training.job.restored.v1'
  )
  AND outbox.type NOT LIKE 'training.session.opened.%'
  AND (
      outbox.seq IS NULL
      OR outbox.seq > CASE outbox.topic
          WHEN 'training.jobs' THEN
              LEAST(COALESCE(jobs.high, 0), COALESCE(checkpoints.high, 0), COALESCE(artifacts.high, 0))
          WHEN 'training.metrics' THEN COALESCE(metrics.high, 0)
          WHEN 'training.logs' THEN COALESCE(logs.high, 0)
          ELSE outbox.seq
      END
  )
GROUP BY outbox.job_id;

-- name: dropped_of_jobs
-- Calls that the senders of an attempt had to leave out, as they said. The end and the life of a run are never left out.
SELECT job_id, attempt, sum((data ->> 'count')::bigint)::bigint AS dropped
FROM (
    SELECT job_id, attempt, data FROM metric_trail
    WHERE job_id = ANY(:job_ids::bigint[]) AND type = 'training.events.dropped.v1'
    UNION ALL
    SELECT job_id, attempt, data FROM log_trail
    WHERE job_id = ANY(:job_ids::bigint[]) AND type = 'training.events.dropped.v1'
) AS gaps
GROUP BY job_id, attempt;

-- name: applied_offsets
SELECT 'jobs' AS read_model, partition, next_offset FROM jobs_offsets
UNION ALL
SELECT 'checkpoints', partition, next_offset FROM checkpoints_offsets
UNION ALL
SELECT 'artifacts', partition, next_offset FROM artifacts_offsets
UNION ALL
SELECT 'metrics', partition, next_offset FROM metrics_offsets
UNION ALL
SELECT 'logs', partition, next_offset FROM logs_offsets;
