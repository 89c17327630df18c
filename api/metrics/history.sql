-- name: history
-- Of each series and epoch one value: the report made for the epoch as a whole, else its last step's.
SELECT DISTINCT ON (name, epoch) name, epoch, value
FROM training_metrics
WHERE job_id = :job_id AND epoch IS NOT NULL AND NOT superseded
ORDER BY name, epoch, attempt DESC, step DESC NULLS FIRST, log_offset DESC;
