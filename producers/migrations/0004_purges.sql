-- What is erased of purged jobs outside of the log and the read models. A row is made by whoever erases first; that a job
-- is purged stands in the read models, which are made from the log: without this table everything is erased once more.

CREATE TABLE write.purges (
    job_id bigint PRIMARY KEY,
    -- In the object store; looked for again for some time, because an upload may have been under way.
    objects_erased_at timestamptz,
    objects bigint NOT NULL DEFAULT 0,
    objects_looked_at timestamptz,
    outbox_erased_at timestamptz,
    -- Spools and folders of runs: a launcher looked through its machine, later ones do on theirs.
    swept_at timestamptz,
    swept_by text,
    -- Why the last try failed.
    problem text
);
