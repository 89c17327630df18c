-- name: samples
-- The newest ones, by time.
SELECT * FROM (
    SELECT attempt, rank, extract(epoch FROM time)::float8 AS time, log_offset, data
    FROM system_samples
    WHERE job_id = :job_id
      AND (:rank::integer IS NULL OR rank = :rank)
      AND (:attempt::integer IS NULL OR attempt = :attempt)
    ORDER BY time DESC, log_offset DESC
    LIMIT :limit
) AS newest
ORDER BY time, log_offset;
