-- name: installation_id$
SELECT id FROM write.installation;

-- name: open_session^
INSERT INTO write.outbox_sessions (session, topic) VALUES (:session, :topic)
ON CONFLICT DO NOTHING RETURNING session;

-- name: append$
INSERT INTO write.outbox
    (topic, key, job_id, type, time, source, attempt, session, data, receipt_key, request_hash, answer)
VALUES
    (:topic, :key, :job_id, :type, :time, :source, :attempt, :session, :data, :receipt_key, :request_hash, :answer)
RETURNING id;

-- name: receipt^
SELECT id, job_id, answer, request_hash FROM write.outbox WHERE receipt_key = :receipt_key;

-- name: unsent
SELECT * FROM write.outbox WHERE sent_at IS NULL ORDER BY id LIMIT :limit;

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

-- name: prune!
-- Rows that are in the log since a week, of jobs whose last row is as old: repeats stay harmless until then.
DELETE FROM write.outbox WHERE id IN (
    SELECT old.id FROM write.outbox AS old
    WHERE old.sent_at < now() - interval '7 days'
      AND NOT EXISTS (
          SELECT 1 FROM write.outbox AS newer
          WHERE newer.job_id = old.job_id
            AND (newer.sent_at IS NULL OR newer.sent_at >= now() - interval '7 days')
      )
    ORDER BY old.id LIMIT 10000
);
