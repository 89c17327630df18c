-- name: create_tables#
CREATE TABLE mlflow_mirrored (
    -- How many points of a job are in MLflow.
    job_id bigint PRIMARY KEY,
    points bigint NOT NULL
);

-- name: count_points!
INSERT INTO mlflow_mirrored (job_id, points) VALUES (:job_id, :points)
ON CONFLICT (job_id) DO UPDATE SET points = mlflow_mirrored.points + excluded.points;

-- name: forget_job!
DELETE FROM mlflow_mirrored WHERE job_id = :job_id;
