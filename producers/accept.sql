-- name: next_job_id$
SELECT nextval('write.job_ids');

-- name: next_dataset_id$
SELECT nextval('write.dataset_ids');
