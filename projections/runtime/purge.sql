-- name: purged
SELECT job_id FROM purged_jobs WHERE job_id = ANY(:job_ids::bigint[]);

-- name: retired
-- Versions that readers could be switched back to.
SELECT schema_name, version FROM write.read_models WHERE projection = :projection AND state = 'retired';

-- name: forget_version!
DELETE FROM write.read_models WHERE schema_name = :schema_name;

-- name: bury!
INSERT INTO purged_jobs (job_id, purged_at, requested_by, reason, partition, log_offset, last_record_at, remains)
VALUES (:job_id, :purged_at, :requested_by, :reason, :partition, :log_offset, :last_record_at, :remains)
ON CONFLICT (job_id) DO UPDATE SET remains = excluded.remains;

-- name: note_last_record*!
UPDATE purged_jobs SET last_record_at = GREATEST(last_record_at, :append_time) WHERE job_id = :job_id;

-- name: forget_dead_letters!
DELETE FROM dead_letters WHERE key = convert_to(:key, 'UTF8');
