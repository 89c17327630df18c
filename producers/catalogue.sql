-- name: registered_models
-- Registrations of a model's names, the latest of each framework last: the read model's, then what the outbox holds
-- that it has not applied yet. One statement, so that both are seen as of one moment.
SELECT 0 AS position, document, NULL::bytea AS data FROM models WHERE name = ANY(:names::text[])
UNION ALL
SELECT outbox.id, NULL, outbox.data
FROM write.outbox
LEFT JOIN models_session_marks AS marks ON marks.session = outbox.session AND marks.topic = outbox.topic
WHERE outbox.topic = 'training.models' AND outbox.type = :event_type AND outbox.key = ANY(:names::text[])
  AND (outbox.seq IS NULL OR outbox.seq > COALESCE(marks.high, 0))
ORDER BY position;

-- name: offered_names
-- Names of all models of a framework; of every framework where none is given.
SELECT name FROM models WHERE :framework::text IS NULL OR framework = :framework
UNION
SELECT outbox.key
FROM write.outbox
LEFT JOIN models_session_marks AS marks ON marks.session = outbox.session AND marks.topic = outbox.topic
WHERE outbox.topic = 'training.models' AND outbox.type = :event_type
  AND (outbox.seq IS NULL OR outbox.seq > COALESCE(marks.high, 0))
  AND (:framework::text IS NULL OR convert_from(outbox.data, 'UTF8')::jsonb ->> 'framework' = :framework)
ORDER BY 1;
