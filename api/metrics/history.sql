-- name: history
-- Of each series and epoch one value: the report made for the epoch as a whole, else its last step's. Of what stood in
-- the log up to an offset, as it was superseded then.
SELECT DISTINCT ON (name, epoch) name, epoch, value
FROM (
    SELECT chunk.name, chunk.attempt, point.epoch::bigint AS epoch, NULLIF(point.step, 'NaN') AS step, point.value,
        point.log_offset
    FROM metric_chunks AS chunk,
        unnest(chunk.steps, chunk.epochs, chunk."values", chunk.log_offsets) AS point (step, epoch, value, log_offset)
    WHERE chunk.job_id = :job_id
      AND point.log_offset <= :until
      AND point.epoch <> 'NaN'
      AND NOT EXISTS (
          SELECT 1 FROM metric_attempts AS newer
          WHERE newer.job_id = chunk.job_id
            AND newer.attempt > chunk.attempt
            AND newer.opened_offset <= :until
            AND supersedes(newer, point.step, point.epoch)
      )
) AS reported
ORDER BY name, epoch, attempt DESC, step DESC NULLS FIRST, log_offset DESC;
