-- name: applied
-- How far the read models are that a judgement rests on.
SELECT topic, partition, next_offset FROM jobs_offsets
UNION ALL
SELECT topic, partition, next_offset FROM system_offsets;

-- name: signs_of_life
-- Heartbeats that the log holds, HTTP callbacks, which stand in the outbox first, and, of jobs that are lost, what any
-- other sender said of them.
SELECT job_id, attempt, last_seen FROM heartbeats WHERE job_id = ANY(:job_ids::bigint[])
UNION ALL
SELECT job_id, attempt, max(created_at) FROM write.outbox
WHERE job_id = ANY(:job_ids::bigint[]) AND type = ANY(:types::text[])
GROUP BY job_id, attempt
UNION ALL
SELECT job_id, attempt, max(append_time) FROM job_events
WHERE job_id = ANY(:lost_ids::bigint[]) AND type = ANY(:types::text[])
GROUP BY job_id, attempt;
