-- name: create_tables#
CREATE TABLE dead_letter_actions (
    -- Where the action itself stands on training.deadletter.
    action_partition integer NOT NULL,
    action_offset bigint NOT NULL,
    read_model text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    action text NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (action_partition, action_offset)
);
CREATE INDEX dead_letter_actions_record ON dead_letter_actions (topic, partition, log_offset);

-- name: record*!
INSERT INTO dead_letter_actions (
    action_partition, action_offset, read_model, topic, partition, log_offset, action, reason, by, time
) VALUES (
    :action_partition, :action_offset, :read_model, :topic, :partition, :log_offset, :action, :reason, :by, :time
);
