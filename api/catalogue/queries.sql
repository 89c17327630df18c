-- name: list_datasets
SELECT document, created_at
FROM datasets
WHERE (:task_type::text IS NULL OR :task_type = ANY(task_types))
  AND (:search::text IS NULL OR name ILIKE '%' || :search || '%')
ORDER BY id
LIMIT :limit OFFSET :offset;

-- name: count_datasets$
SELECT count(*)
FROM datasets
WHERE (:task_type::text IS NULL OR :task_type = ANY(task_types))
  AND (:search::text IS NULL OR name ILIKE '%' || :search || '%');

-- name: list_models
SELECT
    name, framework, task_types, description, parameters, registered_at,
    (document -> 'capability') - ARRAY['parameters', 'config_schema'] AS capability
FROM models
WHERE (:framework::text IS NULL OR framework = :framework)
  AND (:task_type::text IS NULL OR :task_type = ANY(task_types))
  AND (:parameters_min::bigint IS NULL OR parameters >= :parameters_min)
  AND (:parameters_max::bigint IS NULL OR parameters <= :parameters_max)
  AND (:search::text IS NULL OR name ILIKE '%' || :search || '%' OR description ILIKE '%' || :search || '%')
ORDER BY name, framework
LIMIT :limit OFFSET :offset;

-- name: count_models$
SELECT count(*)
FROM models
WHERE (:framework::text IS NULL OR framework = :framework)
  AND (:task_type::text IS NULL OR :task_type = ANY(task_types))
  AND (:parameters_min::bigint IS NULL OR parameters >= :parameters_min)
  AND (:parameters_max::bigint IS NULL OR parameters <= :parameters_max)
  AND (:search::text IS NULL OR name ILIKE '%' || :search || '%' OR description ILIKE '%' || :search || '%');

-- name: dataset_created_at$
SELECT created_at FROM datasets WHERE id = :dataset_id
UNION ALL
SELECT time FROM write.outbox WHERE topic = 'training.datasets' AND key = :dataset_id::text
    AND type = 'training.dataset.registered.v1'
LIMIT 1;

-- name: model_registered_at$
SELECT max(time) FROM (
    SELECT registered_at AS time FROM models WHERE name = :name AND framework = :framework
    UNION ALL
    SELECT time FROM write.outbox
    WHERE topic = 'training.models' AND key = :name AND type = 'training.model.registered.v1'
      AND convert_from(data, 'UTF8')::jsonb ->> 'framework' = :framework
) AS registrations;
