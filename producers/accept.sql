-- name: lock_job
-- Commands of one job wait for each other; the second key keeps jobs and data sets apart.
SELECT pg_advisory_xact_lock(hashtextextended(:name, 0));

-- name: next_job_id$
SELECT nextval('write.job_ids');

-- name: next_dataset_id$
SELECT nextval('write.dataset_ids');
