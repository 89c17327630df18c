-- name: create_tables#
CREATE TABLE mlflow_runs (
    job_id bigint PRIMARY KEY,
    run_id text NOT NULL,
    experiment_id text NOT NULL
);

-- name: run_of^
SELECT run_id, experiment_id FROM mlflow_runs WHERE job_id = :job_id;

-- name: save!
INSERT INTO mlflow_runs (job_id, run_id, experiment_id) VALUES (:job_id, :run_id, :experiment_id)
ON CONFLICT (job_id) DO NOTHING;
