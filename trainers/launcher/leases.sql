-- name: all_leases
SELECT job_id, attempt, launcher, expires_at FROM write.leases;

-- name: acquire^
-- Ours already, free, or run out: then it is ours.
INSERT INTO write.leases (job_id, attempt, launcher, expires_at, run_folder)
VALUES (:job_id, :attempt, :launcher, now() + make_interval(secs => :seconds), :run_folder)
ON CONFLICT (job_id) DO UPDATE SET
    attempt = excluded.attempt, launcher = excluded.launcher, expires_at = excluded.expires_at,
    run_folder = excluded.run_folder
WHERE write.leases.launcher = excluded.launcher OR write.leases.expires_at < now()
RETURNING job_id;

-- name: renew!
UPDATE write.leases SET expires_at = now() + make_interval(secs => :seconds)
WHERE launcher = :launcher AND job_id = ANY(:job_ids::bigint[]);

-- name: release!
DELETE FROM write.leases WHERE launcher = :launcher AND NOT job_id = ANY(:job_ids::bigint[]);
