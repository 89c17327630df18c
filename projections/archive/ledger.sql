-- name: try_lock$
SELECT pg_try_advisory_lock(hashtextextended('archive/' || :topic || '/' || :partition::integer, 0));

-- name: unlock$
SELECT pg_advisory_unlock(hashtextextended('archive/' || :topic || '/' || :partition::integer, 0));

-- name: next_offsets
SELECT topic, partition, max(next_offset) AS next_offset
FROM write.archive_parts
WHERE state <> 'writing'
GROUP BY topic, partition;

-- name: next_offset$
SELECT max(next_offset) FROM write.archive_parts WHERE topic = :topic AND partition = :partition;

-- name: open_part^
SELECT topic, partition, first_offset, next_offset, records, state
FROM write.archive_parts
WHERE topic = :topic AND partition = :partition AND state = 'writing'
ORDER BY first_offset LIMIT 1;

-- name: open_places
SELECT DISTINCT topic, partition FROM write.archive_parts WHERE state = 'writing';

-- name: parts
SELECT topic, partition, first_offset, next_offset, records, state
FROM write.archive_parts
WHERE topic = :topic AND partition = :partition AND next_offset > :first_offset
ORDER BY first_offset;

-- name: begin_part!
INSERT INTO write.archive_parts (topic, partition, first_offset, next_offset, records, state)
VALUES (:topic, :partition, :first_offset, :next_offset, :records, :state)
ON CONFLICT (topic, partition, first_offset) DO UPDATE SET records = excluded.records, state = excluded.state;

-- name: objects
SELECT key, rows, bytes, sha256, job_ids, forgotten
FROM write.archive_objects
WHERE topic = :topic AND partition = :partition AND first_offset = :first_offset
ORDER BY key;

-- name: save_objects*!
INSERT INTO write.archive_objects (key, topic, partition, first_offset, rows, bytes, sha256, job_ids, forgotten)
VALUES (:key, :topic, :partition, :first_offset, :rows, :bytes, :sha256, :job_ids, :forgotten)
ON CONFLICT (key) DO UPDATE SET
    rows = excluded.rows, bytes = excluded.bytes, sha256 = excluded.sha256, job_ids = excluded.job_ids,
    forgotten = excluded.forgotten;

-- name: update_object!
UPDATE write.archive_objects
SET rows = :rows, bytes = :bytes, sha256 = :sha256, job_ids = :job_ids, forgotten = :forgotten
WHERE key = :key;

-- name: drop_objects!
DELETE FROM write.archive_objects WHERE key = ANY(:keys::text[]);

-- name: finish_part!
UPDATE write.archive_parts SET state = 'done', done_at = now()
WHERE topic = :topic AND partition = :partition AND first_offset = :first_offset;

-- name: open_again!
UPDATE write.archive_parts SET state = 'writing', done_at = NULL
WHERE topic = :topic AND partition = :partition AND first_offset = :first_offset;

-- name: objects_of_job
SELECT partition, first_offset, key, rows, bytes, sha256, job_ids, forgotten
FROM write.archive_objects
WHERE topic = :topic AND :job_id::bigint = ANY(job_ids)
ORDER BY partition, first_offset, key;

-- name: ask_to_forget!
INSERT INTO write.archive_forgotten (topic, job_id) VALUES (:topic, :job_id)
ON CONFLICT (topic, job_id) DO UPDATE SET done_at = NULL;

-- name: note_forgotten!
UPDATE write.archive_forgotten SET done_at = now() WHERE topic = :topic AND job_id = :job_id;

-- name: asked_to_forget
SELECT job_id FROM write.archive_forgotten WHERE topic = :topic;

-- name: still_to_forget
SELECT topic, job_id FROM write.archive_forgotten WHERE done_at IS NULL ORDER BY asked_at;

-- name: note_check!
INSERT INTO write.archive_checks (topic, partition, next_offset) VALUES (:topic, :partition, :next_offset)
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, checked_at = now();

-- name: checks
SELECT topic, partition, next_offset, checked_at FROM write.archive_checks;

-- name: keys_of_topic
SELECT key FROM write.archive_objects WHERE topic = :topic;

-- name: archiver_lives$
SELECT EXISTS (
    SELECT 1 FROM write.workers WHERE process = 'projections-archive' AND seen_at > now() - interval '1 minute'
);

-- name: highest_job$
SELECT COALESCE(max(job_id), 0) FROM write.archive_objects, unnest(job_ids) AS job_id;
