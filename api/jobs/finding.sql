-- name: unapplied_new_jobs
-- Jobs that were created but that the read model does not know yet.
SELECT DISTINCT outbox.job_id AS id
FROM write.outbox
LEFT JOIN training_jobs AS job ON job.id = outbox.job_id AND job.created_at IS NOT NULL
WHERE outbox.type = 'training.job.created.v1'
  AND job.id IS NULL
  AND (outbox.sent_at IS NULL OR outbox.sent_at > now() - interval '1 day')
ORDER BY 1 DESC
LIMIT 1000;

-- name: find_jobs^
-- Ids of one page in order, and how many match in all. The best metric is looked up where it is asked for only.
WITH matching AS (
    SELECT job.id, job.name, job.created_at, job.started_at, best.value AS best_metric
    FROM training_jobs AS job
    LEFT JOIN LATERAL (
        SELECT reported.value
        FROM unnest(job.primary_metrics) WITH ORDINALITY AS wanted (name, position)
        JOIN metric_epochs AS reported ON reported.job_id = job.id AND reported.name = wanted.name
        WHERE reported.value NOT IN ('NaN', 'Infinity', '-Infinity')
        ORDER BY
            wanted.position, CASE WHEN job.primary_metric_mode = 'min' THEN reported.value ELSE -reported.value END
        LIMIT 1
    ) AS best ON :by_best::boolean OR :best_min::float8 IS NOT NULL OR :best_max::float8 IS NOT NULL
    WHERE job.created_at IS NOT NULL
      AND (:deleted::boolean IS NULL OR (job.deleted_at IS NOT NULL) = :deleted)
      AND (:status::text IS NULL OR job.status = :status)
      AND (:state::text IS NULL OR job.state = :state)
      AND (:search::text IS NULL OR job.search_text ILIKE '%' || :search || '%')
      AND (:model_name::text IS NULL OR job.model_name = :model_name)
      AND (:framework::text IS NULL OR job.framework = :framework)
      AND (:task_type::text IS NULL OR job.task_type = :task_type)
      AND (:dataset_id::bigint IS NULL OR job.dataset_id = :dataset_id)
      AND job.tags @> :tags::text[]
      AND (:best_min IS NULL OR best.value >= :best_min)
      AND (:best_max IS NULL OR best.value <= :best_max)
    UNION ALL
    -- Nobody has seen them start: they are the newest.
    SELECT new.id, new.name, 'infinity', NULL, NULL
    FROM unnest(:new_ids::bigint[], :new_names::text[]) AS new (id, name)
),
keyed AS (
    SELECT
        id,
        CASE :sort::text WHEN 'created' THEN created_at WHEN 'started' THEN started_at END AS moment,
        CASE :sort WHEN 'name' THEN lower(name) END AS word,
        CASE :sort WHEN 'best_metric' THEN best_metric END AS number
    FROM matching
),
page AS (
    SELECT id, row_number() OVER (
        ORDER BY
            CASE WHEN :descending::boolean THEN moment END DESC NULLS LAST, CASE WHEN NOT :descending THEN moment END,
            CASE WHEN :descending THEN word END DESC NULLS LAST, CASE WHEN NOT :descending THEN word END,
            CASE WHEN :descending THEN number END DESC NULLS LAST, CASE WHEN NOT :descending THEN number END,
            CASE WHEN :descending THEN -id ELSE id END
    ) AS position
    FROM keyed
    ORDER BY position
    LIMIT :limit OFFSET :offset
)
SELECT
    (SELECT count(*) FROM matching) AS total,
    COALESCE((SELECT array_agg(id ORDER BY position) FROM page), '{}') AS ids;
