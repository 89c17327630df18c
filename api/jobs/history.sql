-- name: standing
-- How far each read model of a job's topics is in the job's partition, also one that has read nothing there.
SELECT model.topic, COALESCE(saved.next_offset, 0) AS next_offset, saved.append_time
FROM (
    VALUES ('jobs', 'training.jobs'), ('checkpoints', 'training.jobs'), ('artifacts', 'training.jobs'),
        ('metrics', 'training.metrics'), ('logs', 'training.logs')
) AS model (name, topic)
LEFT JOIN (
    SELECT 'jobs' AS name, partition, next_offset, append_time FROM jobs_offsets
    UNION ALL
    SELECT 'checkpoints', partition, next_offset, append_time FROM checkpoints_offsets
    UNION ALL
    SELECT 'artifacts', partition, next_offset, append_time FROM artifacts_offsets
    UNION ALL
    SELECT 'metrics', partition, next_offset, append_time FROM metrics_offsets
    UNION ALL
    SELECT 'logs', partition, next_offset, append_time FROM logs_offsets
) AS saved ON saved.name = model.name AND saved.partition = :partition;

-- name: last_events
-- Of each topic the job's last event that the log had taken by then.
(
    SELECT 'training.jobs' AS topic, log_offset, append_time FROM job_events
    WHERE job_id = :job_id AND append_time <= :moment ORDER BY append_time DESC, log_offset DESC LIMIT 1
)
UNION ALL
(
    SELECT 'training.metrics', log_offset, append_time FROM metric_trail
    WHERE job_id = :job_id AND append_time <= :moment ORDER BY append_time DESC, log_offset DESC LIMIT 1
)
UNION ALL
(
    SELECT 'training.logs', log_offset, append_time FROM log_trail
    WHERE job_id = :job_id AND append_time <= :moment ORDER BY append_time DESC, log_offset DESC LIMIT 1
);

-- name: last_event_of_topic^
-- The job's last event of one topic up to an offset.
SELECT log_offset, append_time FROM (
    SELECT 'training.jobs' AS topic, log_offset, append_time FROM job_events WHERE job_id = :job_id
    UNION ALL
    SELECT 'training.metrics', log_offset, append_time FROM metric_trail WHERE job_id = :job_id
    UNION ALL
    SELECT 'training.logs', log_offset, append_time FROM log_trail WHERE job_id = :job_id
) AS trail
WHERE topic = :topic AND log_offset <= :offset
ORDER BY log_offset DESC LIMIT 1;

-- name: job_at^
-- The job after its last event up to an offset that changed it.
SELECT job FROM job_events
WHERE job_id = :job_id AND log_offset <= :offset AND job IS NOT NULL
ORDER BY log_offset DESC LIMIT 1;

-- name: created^
SELECT partition, log_offset, append_time FROM job_events
WHERE job_id = :job_id AND type LIKE 'training.job.created.%' AND ignored_reason IS NULL
ORDER BY log_offset LIMIT 1;

-- name: openings
-- Where later attempts go on from, as far as it was said by then.
SELECT attempt, resume_step, resume_epoch, opened_offset FROM metric_attempts
WHERE job_id = :job_id AND opened_offset <= :offset
ORDER BY opened_offset;

-- name: epoch_points
-- Points that may be the value of an epoch, in log order (projections/core/epochs.py has the rule).
SELECT point.log_offset, chunk.attempt, point.step, point.epoch, point.value
FROM metric_chunks AS chunk,
    unnest(chunk.steps, chunk.epochs, chunk."values", chunk.log_offsets) WITH ORDINALITY
        AS point (step, epoch, value, log_offset, number)
WHERE chunk.job_id = :job_id
  AND chunk.name = :name
  AND point.log_offset <= :offset
  AND point.epoch <> 'NaN'
  AND (NOT :whole_epochs_only::boolean OR point.step = 'NaN')
ORDER BY point.log_offset, chunk.chunk, point.number;
