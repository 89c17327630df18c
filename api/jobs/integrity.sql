-- name: outbox_numbers
SELECT session, topic, last_seq FROM write.outbox_sessions WHERE session = ANY(:sessions::text[]);

-- name: unsent
-- Facts that wait for the log; those without a number will get the next ones.
SELECT session, topic, count(*) AS unsent, count(*) FILTER (WHERE seq IS NULL) AS unnumbered
FROM write.outbox
WHERE job_id = :job_id AND sent_at IS NULL
GROUP BY session, topic;

-- name: drops
SELECT 'training.metrics' AS topic, session, seq, partition, log_offset, data FROM metric_trail
WHERE job_id = :job_id AND type = 'training.events.dropped.v1'
UNION ALL
SELECT 'training.logs', session, seq, partition, log_offset, data FROM log_trail
WHERE job_id = :job_id AND type = 'training.events.dropped.v1'
UNION ALL
SELECT 'training.system', session, seq, partition, log_offset, data FROM system_trail
WHERE job_id = :job_id AND type = 'training.events.dropped.v1'
ORDER BY topic, log_offset;
