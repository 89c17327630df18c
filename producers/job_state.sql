-- name: jobs_and_unapplied_events
-- The projected jobs, and after them the events of the outbox that the jobs read model has not applied yet, in their
-- order. One statement, so that both are seen as of one moment: between two, a projection may commit.
SELECT
    0 AS position, id AS job_id, job,
    NULL::text AS topic, NULL::text AS key, NULL::text AS type, NULL::timestamptz AS time, NULL::text AS source,
    NULL::integer AS attempt, NULL::text AS session, NULL::bigint AS seq, NULL::bytea AS data
FROM training_jobs
WHERE id = ANY(:job_ids::bigint[])
UNION ALL
SELECT
    outbox.id, outbox.job_id, NULL, outbox.topic, outbox.key, outbox.type, outbox.time, outbox.source, outbox.attempt,
    outbox.session, outbox.seq, outbox.data
FROM write.outbox
LEFT JOIN jobs_session_marks AS marks ON marks.session = outbox.session AND marks.topic = outbox.topic
WHERE outbox.job_id = ANY(:job_ids::bigint[])
  AND outbox.topic = 'training.jobs'
  AND (outbox.seq IS NULL OR outbox.seq > COALESCE(marks.high, 0))
ORDER BY position;

-- name: purge_of^
-- A purged job: the read model's tombstone, and until it is there the fact in the outbox.
SELECT purged_at, requested_by, reason, NULL::bytea AS data FROM jobs_purged_jobs WHERE job_id = :job_id
UNION ALL
SELECT time, NULL, NULL, data FROM write.outbox
WHERE job_id = :job_id AND topic = 'training.jobs' AND type = :event_type
LIMIT 1;

-- name: projected_dataset^
SELECT document FROM datasets WHERE id = :dataset_id;

-- name: unapplied_dataset^
SELECT data FROM write.outbox
WHERE topic = 'training.datasets' AND key = :dataset_id AND job_id IS NULL AND type = :event_type
ORDER BY id DESC LIMIT 1;

-- name: jobs_that_go_on
-- Jobs of the read model that have not ended or are to be tried again, and jobs of which the outbox holds something unapplied.
SELECT id FROM training_jobs WHERE state NOT IN ('completed', 'stopped', 'failed') OR awaits_retry
UNION
SELECT DISTINCT outbox.job_id
FROM write.outbox
LEFT JOIN jobs_session_marks AS marks ON marks.session = outbox.session AND marks.topic = outbox.topic
WHERE outbox.job_id IS NOT NULL
  AND outbox.topic = 'training.jobs'
  AND (outbox.seq IS NULL OR outbox.seq > COALESCE(marks.high, 0))
ORDER BY 1;
