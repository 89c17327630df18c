-- name: history
-- Of each series and epoch one value: the report made for the epoch as a whole, else its last step's.
SELECT DISTINCT ON (chunks.name, point.epoch)
    chunks.name, point.epoch::bigint AS epoch, point.value
FROM metric_chunks AS chunks,
    unnest(chunks.steps, chunks.epochs, chunks.log_offsets, chunks."values") AS point (step, epoch, log_offset, value)
WHERE chunks.job_id = :job_id
  AND point.epoch <> 'NaN'
  AND NOT EXISTS (
      SELECT 1 FROM metric_attempts AS newer
      WHERE newer.job_id = chunks.job_id
        AND newer.attempt > chunks.attempt
        AND point.step <> 'NaN'
        AND point.step >= COALESCE(newer.resume_step, 0)
  )
ORDER BY chunks.name, point.epoch, chunks.attempt DESC, point.step DESC, point.log_offset DESC;
