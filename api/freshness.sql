-- name: waiting_position$
-- Whether the row of the outbox is missing in a read model of its topic. A pruned row was applied long ago, and so was one that a purge erased.
SELECT EXISTS (
    SELECT 1
    FROM write.outbox
    LEFT JOIN jobs_session_marks AS jobs ON jobs.session = outbox.session AND jobs.topic = outbox.topic
    LEFT JOIN checkpoints_session_marks AS checkpoints
        ON checkpoints.session = outbox.session AND checkpoints.topic = outbox.topic
    LEFT JOIN artifacts_session_marks AS artifacts
        ON artifacts.session = outbox.session AND artifacts.topic = outbox.topic
    LEFT JOIN metrics_session_marks AS metrics ON metrics.session = outbox.session AND metrics.topic = outbox.topic
    LEFT JOIN logs_session_marks AS logs ON logs.session = outbox.session AND logs.topic = outbox.topic
    LEFT JOIN datasets_session_marks AS datasets
        ON datasets.session = outbox.session AND datasets.topic = outbox.topic
    LEFT JOIN models_session_marks AS models ON models.session = outbox.session AND models.topic = outbox.topic
    WHERE outbox.id = :after
      AND outbox.data <> ''
      AND (
          outbox.seq IS NULL
          OR outbox.seq > CASE outbox.topic
              WHEN 'training.jobs' THEN
                  LEAST(COALESCE(jobs.high, 0), COALESCE(checkpoints.high, 0), COALESCE(artifacts.high, 0))
              WHEN 'training.metrics' THEN COALESCE(metrics.high, 0)
              WHEN 'training.logs' THEN COALESCE(logs.high, 0)
              WHEN 'training.datasets' THEN COALESCE(datasets.high, 0)
              WHEN 'training.models' THEN COALESCE(models.high, 0)
              ELSE outbox.seq
          END
      )
);
