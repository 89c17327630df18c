-- name: create_tables#
CREATE TABLE mlflow_runs (
    job_id bigint PRIMARY KEY,
    run_id text NOT NULL,
    experiment_id text NOT NULL,
    -- The fold of the job, for the status of its run.
    job jsonb NOT NULL
);

-- name: run_of^
SELECT run_id, experiment_id FROM mlflow_runs WHERE job_id = :job_id;

-- name: known_runs
SELECT job_id, run_id, experiment_id FROM mlflow_runs;

-- name: job_of^
SELECT job FROM mlflow_runs WHERE job_id = :job_id;

-- name: save!
INSERT INTO mlflow_runs (job_id, run_id, experiment_id, job) VALUES (:job_id, :run_id, :experiment_id, :job)
ON CONFLICT (job_id) DO UPDATE SET job = excluded.job;

-- name: forget_job!
DELETE FROM mlflow_runs WHERE job_id = :job_id;
