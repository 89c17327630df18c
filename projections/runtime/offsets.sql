-- name: create_offsets!
INSERT INTO projection_offsets (topic, partition)
SELECT :topic, partition FROM unnest(:partitions::integer[]) AS partition
ON CONFLICT DO NOTHING;

-- name: lock_offsets
SELECT partition, next_offset, bad_in_a_row, window_records, window_bad
FROM projection_offsets
WHERE topic = :topic AND partition = ANY(:partitions::integer[])
ORDER BY partition
FOR UPDATE;

-- name: read_offsets
SELECT partition, next_offset, append_time FROM projection_offsets WHERE topic = :topic;

-- name: raise_offsets!
-- Never back: what was applied stays applied.
INSERT INTO projection_offsets AS saved (topic, partition, next_offset)
SELECT :topic, partition, next_offset
FROM unnest(:partitions::integer[], :next_offsets::bigint[]) AS given (partition, next_offset)
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE saved.next_offset < excluded.next_offset;

-- name: save_offsets!
UPDATE projection_offsets AS saved
SET next_offset = given.next_offset,
    append_time = given.append_time,
    applied_events = saved.applied_events + given.applied_events,
    bad_in_a_row = given.bad_in_a_row,
    window_records = given.window_records,
    window_bad = given.window_bad
FROM unnest(
    :partitions::integer[], :next_offsets::bigint[], :append_times::timestamptz[], :applied_events::bigint[],
    :bad_in_a_row::integer[], :window_records::integer[], :window_bad::integer[]
) AS given (partition, next_offset, append_time, applied_events, bad_in_a_row, window_records, window_bad)
WHERE saved.topic = :topic AND saved.partition = given.partition;

-- name: load_marks
SELECT session, high, gaps FROM session_marks WHERE topic = :topic AND session = ANY(:sessions::text[]);

-- name: save_marks*!
INSERT INTO session_marks (session, topic, job_id, high, gaps)
VALUES (:session, :topic, :job_id, :high, :gaps)
ON CONFLICT (session, topic) DO UPDATE SET high = excluded.high, gaps = excluded.gaps;

-- name: park*!
INSERT INTO dead_letters (topic, partition, log_offset, append_time, key, headers, value, reason)
VALUES (:topic, :partition, :log_offset, :append_time, :key, :headers, :value, :reason)
ON CONFLICT DO NOTHING;
