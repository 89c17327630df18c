-- name: series_names
-- Names of which a point stood in the log up to an offset.
SELECT DISTINCT name FROM metric_chunks
WHERE job_id = :job_id AND chunk = 0 AND (:until::bigint IS NULL OR log_offsets[1] <= :until)
ORDER BY name LIMIT :limit;

-- name: attempts
SELECT attempt, resume_step, resume_epoch FROM metric_attempts
WHERE job_id = :job_id AND (:until::bigint IS NULL OR opened_offset <= :until)
ORDER BY attempt;

-- name: chunks
-- Arrays in Postgres' binary form: numpy reads them without making a Python number of every element.
SELECT name, attempt, array_send(steps) AS steps, array_send(epochs) AS epochs, array_send(times) AS times,
    array_send("values") AS points_values, array_send(log_offsets) AS log_offsets
FROM metric_chunks
WHERE job_id = :job_id AND name = ANY(:names::text[]) AND (:until::bigint IS NULL OR log_offsets[1] <= :until)
ORDER BY name, attempt, chunk;
