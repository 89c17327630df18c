-- name: pending
-- Purged jobs of which something is left outside of the read models; for a month objects are looked for again.
SELECT purged.job_id
FROM jobs_purged_jobs AS purged
LEFT JOIN write.purges AS done ON done.job_id = purged.job_id
WHERE done.objects_erased_at IS NULL
   OR done.outbox_erased_at IS NULL
   OR (purged.purged_at > now() - interval '30 days' AND done.objects_looked_at < now() - interval '1 hour')
ORDER BY purged.job_id
LIMIT 100;

-- name: note_objects!
INSERT INTO write.purges AS done (job_id, objects, objects_erased_at, objects_looked_at)
VALUES (:job_id, :objects, now(), now())
ON CONFLICT (job_id) DO UPDATE SET
    objects = done.objects + excluded.objects,
    objects_erased_at = COALESCE(done.objects_erased_at, excluded.objects_erased_at),
    objects_looked_at = excluded.objects_looked_at,
    problem = NULL;

-- name: note_problem!
INSERT INTO write.purges AS done (job_id, problem) VALUES (:job_id, :problem)
ON CONFLICT (job_id) DO UPDATE SET problem = excluded.problem;

-- name: note_outbox!
UPDATE write.purges SET outbox_erased_at = COALESCE(outbox_erased_at, now()) WHERE job_id = :job_id;

-- name: release_lease!
DELETE FROM write.leases WHERE job_id = :job_id;

-- name: purged_among
SELECT job_id FROM jobs_purged_jobs WHERE job_id = ANY(:job_ids::bigint[]);

-- name: note_swept!
-- That nothing of these jobs was or is left here, where no launcher has said so yet.
INSERT INTO write.purges AS done (job_id, swept_at, swept_by)
SELECT purged.job_id, now(), :launcher
FROM jobs_purged_jobs AS purged
LEFT JOIN write.purges AS known ON known.job_id = purged.job_id
WHERE known.swept_at IS NULL AND NOT purged.job_id = ANY(:left_over::bigint[])
ON CONFLICT (job_id) DO UPDATE SET swept_at = excluded.swept_at, swept_by = excluded.swept_by
WHERE done.swept_at IS NULL;
