-- name: trail
-- Every topic's events of a job. `way` says from where: after or before a place in their order, or after an offset of
-- the one topic that is asked for. Records that could not be read are among them; the record itself is a dead letter.
WITH parked AS NOT MATERIALIZED (
    SELECT * FROM (
        SELECT 'jobs' AS read_model, topic, partition, log_offset, append_time, key, reason FROM jobs_dead_letters
        UNION ALL
        SELECT 'metrics', topic, partition, log_offset, append_time, key, reason FROM metrics_dead_letters
        UNION ALL
        SELECT 'logs', topic, partition, log_offset, append_time, key, reason FROM logs_dead_letters
        UNION ALL
        SELECT 'system', topic, partition, log_offset, append_time, key, reason FROM system_dead_letters
    ) AS of_every_topic
    WHERE partition = :partition AND key = convert_to(:job_id::bigint::text, 'UTF8')
),
trail AS NOT MATERIALIZED (
    SELECT 'training.jobs' COLLATE "C" AS topic, partition, log_offset, type, time, append_time, attempt, rank, session,
        seq, source, data, state_before, state, ignored_reason, job #>> '{stop,requested_at}' AS stop_requested_at
    FROM job_events WHERE job_id = :job_id
    UNION ALL
    SELECT 'training.metrics' COLLATE "C", partition, log_offset, type, time, append_time, attempt, rank, session,
        seq, source, data, NULL, NULL, NULL, NULL
    FROM metric_trail WHERE job_id = :job_id
    UNION ALL
    SELECT 'training.logs' COLLATE "C", partition, log_offset, type, time, append_time, attempt, rank, session,
        seq, source, data, NULL, NULL, NULL, NULL
    FROM log_trail WHERE job_id = :job_id
    UNION ALL
    SELECT 'training.system' COLLATE "C", partition, log_offset, type, time, append_time, attempt, rank, session,
        seq, source, data, NULL, NULL, NULL, NULL
    FROM system_trail WHERE job_id = :job_id
    UNION ALL
    SELECT topic COLLATE "C", partition, log_offset, 'unreadable', NULL, append_time, NULL, NULL, NULL,
        NULL, NULL, jsonb_build_object('read_model', read_model, 'reason', reason), NULL, NULL, reason, NULL
    FROM parked
    UNION ALL
    SELECT 'training.deadletter' COLLATE "C", action.action_partition, action.action_offset,
        'training.deadletter.' || action.action || '.v1', action.time, action.time, NULL, NULL, NULL, NULL, NULL,
        jsonb_build_object(
            'read_model', read_model, 'topic', topic, 'partition', partition, 'offset', log_offset,
            'reason', action.reason, 'by', action.by
        ), NULL, NULL, NULL, NULL
    FROM dead_letter_actions AS action
    JOIN parked USING (read_model, topic, partition, log_offset)
)
(
    SELECT * FROM trail
    WHERE :way::text = 'after'
      AND (append_time, topic, log_offset) > (:append_time::timestamptz, :topic::text, :log_offset::bigint)
      AND topic = ANY(:topics::text[])
      AND (:types::text[] IS NULL OR EXISTS (SELECT FROM unnest(:types) AS start WHERE starts_with(type, start)))
      AND (:attempt::integer IS NULL OR attempt = :attempt)
      AND (:source::text IS NULL OR starts_with(source, :source))
      AND (:since::timestamptz IS NULL OR append_time >= :since)
      AND (:until::timestamptz IS NULL OR append_time <= :until)
    ORDER BY append_time, topic, log_offset LIMIT :limit
)
UNION ALL
(
    SELECT * FROM trail
    WHERE :way = 'before'
      AND (append_time, topic, log_offset) < (:append_time, :topic, :log_offset)
      AND topic = ANY(:topics)
      AND (:types IS NULL OR EXISTS (SELECT FROM unnest(:types) AS start WHERE starts_with(type, start)))
      AND (:attempt IS NULL OR attempt = :attempt)
      AND (:source IS NULL OR starts_with(source, :source))
      AND (:since IS NULL OR append_time >= :since)
      AND (:until IS NULL OR append_time <= :until)
    ORDER BY append_time DESC, topic DESC, log_offset DESC LIMIT :limit
)
UNION ALL
(
    -- In log order, whatever the broker's clock did: nothing that comes later is passed over.
    SELECT * FROM trail
    WHERE :way = 'offset'
      AND topic = :topic
      AND log_offset > :log_offset
    ORDER BY log_offset LIMIT :limit
);

-- name: place_of_offset^
SELECT append_time, log_offset FROM job_events
WHERE job_id = :job_id AND log_offset <= :offset
ORDER BY log_offset DESC LIMIT 1;
