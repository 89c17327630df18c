-- What lies in the archive. A part is a range of offsets of one partition; its range stands here before any of its
-- objects is written, so that whoever goes on after a crash writes the same names.

CREATE TABLE write.archive_parts (
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    -- How many records lay in the range when it was written; those that were forgotten later count, too.
    records bigint NOT NULL,
    -- lost: the records were gone before they were archived.
    state text NOT NULL CHECK (state IN ('writing', 'done', 'lost')),
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    PRIMARY KEY (topic, partition, first_offset),
    CHECK (first_offset < next_offset)
);
CREATE INDEX archive_parts_open ON write.archive_parts (topic, partition, first_offset) WHERE state = 'writing';

CREATE TABLE write.archive_objects (
    key text PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    -- Whose records it holds: what is to be forgotten is found without opening files.
    job_ids bigint[] NOT NULL,
    -- Ranges of offsets, [[first, next], ...].
    forgotten jsonb NOT NULL,
    FOREIGN KEY (topic, partition, first_offset) REFERENCES write.archive_parts ON DELETE CASCADE
);
CREATE INDEX archive_objects_part ON write.archive_objects (topic, partition, first_offset);

CREATE TABLE write.archive_forgotten (
    -- Jobs whose records no file may hold, by topic.
    topic text NOT NULL,
    job_id bigint NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    PRIMARY KEY (topic, job_id)
);

CREATE TABLE write.archive_checks (
    -- Up to where a check found the archive equal to the log.
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
