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
SELECT name, framework, task_types, description, capability, registered_at
FROM models ORDER BY name LIMIT :limit OFFSET :offset;

-- name: count_models$
SELECT count(*) FROM models;

-- name: dataset_created_at$
SELECT created_at FROM datasets WHERE id = :dataset_id
UNION ALL
SELECT time FROM write.outbox WHERE topic = 'training.datasets' AND key = :dataset_id::text
    AND type = 'training.dataset.registered.v1'
LIMIT 1;
