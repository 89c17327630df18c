-- name: installation_id$
SELECT id FROM write.installation;

-- name: open_session^
INSERT INTO write.outbox_sessions (session, topic) VALUES (:session, :topic)
ON CONFLICT DO NOTHING RETURNING session;

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended(:name, 0));

-- name: append$
INSERT INTO write.outbox
    (topic, key, job_id, type, time, source, attempt, session, data, receipt_key, request_hash, answer)
VALUES
    (:topic, :key, :job_id, :type, :time, :source, :attempt, :session, :data, :receipt_key, :request_hash, :answer)
RETURNING id;

-- name: receipt^
SELECT id, job_id, answer, request_hash FROM write.outbox WHERE receipt_key = :receipt_key;

-- name: last_of_types
SELECT id FROM write.outbox WHERE job_id = :job_id AND type = ANY(:types::text[]) ORDER BY id DESC LIMIT 1;

-- name: lock_numbers
-- Until the transaction ends: whoever comes second must see the numbers that the first one gave.
SELECT pg_advisory_xact_lock(4711004);

-- name: unsent
SELECT * FROM (
    SELECT oldest.*, sum(octet_length(data)) OVER (ORDER BY id) - octet_length(data) AS bytes_before
    FROM (SELECT * FROM write.outbox WHERE sent_at IS NULL ORDER BY id LIMIT :limit) AS oldest
) AS batch
WHERE bytes_before < :bytes_max
ORDER BY id;

-- name: last_numbers
SELECT session, topic, last_seq FROM write.outbox_sessions WHERE session = ANY(:sessions::text[]) FOR UPDATE;

-- name: give_numbers!
UPDATE write.outbox SET seq = given.seq
FROM unnest(:ids::bigint[], :seqs::bigint[]) AS given (id, seq)
WHERE outbox.id = given.id;

-- name: note_last_numbers!
UPDATE write.outbox_sessions SET last_seq = given.last_seq
FROM unnest(:sessions::text[], :topics::text[], :last_seqs::bigint[]) AS given (session, topic, last_seq)
WHERE outbox_sessions.session = given.session AND outbox_sessions.topic = given.topic;

-- name: mark_sent!
UPDATE write.outbox SET sent_at = now(), partition = given.partition, log_offset = given.log_offset
FROM unnest(:ids::bigint[], :partitions::integer[], :log_offsets::bigint[]) AS given (id, partition, log_offset)
WHERE outbox.id = given.id;

-- name: erase!
-- Not the job's any more: what a job is looks at the rows that have data.
UPDATE write.outbox SET job_id = NULL, data = '', receipt_key = NULL, request_hash = NULL, answer = NULL
WHERE job_id = :job_id AND sent_at IS NOT NULL AND type <> :purged;

-- name: count_unsent$
SELECT count(*) FROM write.outbox WHERE job_id = :job_id AND sent_at IS NULL;

-- name: prune!
-- Rows that are in the log since a week, of jobs whose last row is as old: repeats stay harmless until then.
-- What no read model has applied yet stays: until then only the outbox knows it.
DELETE FROM write.outbox WHERE id IN (
    SELECT old.id FROM write.outbox AS old
    WHERE old.sent_at < now() - interval '7 days'
      AND NOT EXISTS (
          SELECT 1 FROM write.outbox AS newer
          WHERE newer.job_id = old.job_id
            AND (newer.sent_at IS NULL OR newer.sent_at >= now() - interval '7 days')
      )
      AND NOT (
          old.topic = 'training.jobs' AND old.job_id IS NOT NULL AND old.seq > COALESCE(
              (SELECT high FROM jobs_session_marks AS marks
               WHERE marks.session = old.session AND marks.topic = old.topic), 0)
      )
      AND NOT (
          old.topic = 'training.models' AND old.seq > COALESCE(
              (SELECT high FROM models_session_marks AS marks
               WHERE marks.session = old.session AND marks.topic = old.topic), 0)
      )
      AND NOT (
          old.topic = 'training.deadletter' AND old.seq > COALESCE(
              (SELECT high FROM dead_letters_session_marks AS marks
               WHERE marks.session = old.session AND marks.topic = old.topic), 0)
      )
      AND NOT (
          old.topic = 'training.datasets' AND NOT EXISTS (SELECT 1 FROM datasets WHERE datasets.id::text = old.key)
      )
    ORDER BY old.id LIMIT 10000
);
