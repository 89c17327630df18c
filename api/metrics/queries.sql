-- name: series_names
SELECT DISTINCT name FROM metric_series WHERE job_id = :job_id ORDER BY name LIMIT :limit;

-- name: attempts
SELECT attempt, resume_step, resume_epoch FROM metric_attempts WHERE job_id = :job_id ORDER BY attempt;

-- name: chunks
-- Arrays in Postgres' binary form: numpy reads them without making a Python number of every element.
SELECT name, attempt, array_send(steps) AS steps, array_send(epochs) AS epochs, array_send(times) AS times,
    array_send("values") AS points_values, array_send(log_offsets) AS log_offsets
FROM metric_chunks
WHERE job_id = :job_id AND name = ANY(:names::text[])
ORDER BY name, attempt, chunk;
