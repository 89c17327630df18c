-- name: lines
SELECT id, level, message, timestamp, source, metadata
FROM training_logs
WHERE job_id = :job_id
  AND (:below_id::bigint IS NULL OR id < :below_id)
  AND (:levels::text[] IS NULL OR level = ANY(:levels))
  AND (:source::text IS NULL OR source = :source)
  AND (:since::timestamptz IS NULL OR timestamp >= :since)
  AND (:until::timestamptz IS NULL OR timestamp <= :until)
  AND (:search::text IS NULL OR message ILIKE '%' || :search || '%')
ORDER BY timestamp, id
LIMIT :limit OFFSET :offset;

-- name: count_lines$
SELECT count(*)
FROM training_logs
WHERE job_id = :job_id
  AND (:below_id::bigint IS NULL OR id < :below_id)
  AND (:levels::text[] IS NULL OR level = ANY(:levels))
  AND (:source::text IS NULL OR source = :source)
  AND (:since::timestamptz IS NULL OR timestamp >= :since)
  AND (:until::timestamptz IS NULL OR timestamp <= :until)
  AND (:search::text IS NULL OR message ILIKE '%' || :search || '%');
