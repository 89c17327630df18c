-- name: note_interrupted!
UPDATE write.builds SET state = 'interrupted', ended_at = seen_at
WHERE projection = :projection AND state = 'running';

-- name: begin$
INSERT INTO write.builds (projection, purpose, state, phase) VALUES (:projection, :purpose, 'running', 'begins')
RETURNING id;

-- name: forget_old!
DELETE FROM write.builds
WHERE projection = :projection
  AND id NOT IN (SELECT id FROM write.builds WHERE projection = :projection ORDER BY id DESC LIMIT :kept);

-- name: name_schema!
UPDATE write.builds SET schema_name = :schema_name, seen_at = now() WHERE id = :id;

-- name: tell!
UPDATE write.builds
SET phase = :phase, events_done = :done, events_total = :total, events_per_second = :rate, seen_at = now()
WHERE id = :id;

-- name: end!
UPDATE write.builds SET state = :state, result = :result, seen_at = now(), ended_at = now() WHERE id = :id;
