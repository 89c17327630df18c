-- Every query names two schemas at once: points.py puts them in for live_schema and rebuilt_schema.

-- name: series_with_other_chunks
SELECT DISTINCT job_id, name, attempt
FROM live_schema.metric_chunks AS live
FULL JOIN rebuilt_schema.metric_chunks AS rebuilt USING (job_id, name, attempt, chunk)
WHERE ROW(live.steps, live.epochs, live.times, live."values", live.log_offsets, live.append_times)
    IS DISTINCT FROM
    ROW(rebuilt.steps, rebuilt.epochs, rebuilt.times, rebuilt."values", rebuilt.log_offsets, rebuilt.append_times);

-- name: points_that_differ
-- A point is known by its record and its place among the record's points of the series.
WITH wanted AS (
    SELECT * FROM unnest(:jobs::bigint[], :names::text[], :attempts::integer[]) AS wanted (job_id, name, attempt)
),
live AS (
    SELECT chunks.job_id, chunks.name, chunks.attempt, point.log_offset,
        row_number() OVER (
            PARTITION BY chunks.job_id, chunks.name, chunks.attempt, point.log_offset
            ORDER BY chunks.chunk, point.place
        ) AS nth,
        point.step, point.epoch, point.time, point.value, point.append_time
    FROM live_schema.metric_chunks AS chunks
    JOIN wanted USING (job_id, name, attempt),
        unnest(chunks.steps, chunks.epochs, chunks.times, chunks."values", chunks.log_offsets, chunks.append_times)
            WITH ORDINALITY AS point (step, epoch, time, value, log_offset, append_time, place)
),
rebuilt AS (
    SELECT chunks.job_id, chunks.name, chunks.attempt, point.log_offset,
        row_number() OVER (
            PARTITION BY chunks.job_id, chunks.name, chunks.attempt, point.log_offset
            ORDER BY chunks.chunk, point.place
        ) AS nth,
        point.step, point.epoch, point.time, point.value, point.append_time
    FROM rebuilt_schema.metric_chunks AS chunks
    JOIN wanted USING (job_id, name, attempt),
        unnest(chunks.steps, chunks.epochs, chunks.times, chunks."values", chunks.log_offsets, chunks.append_times)
            WITH ORDINALITY AS point (step, epoch, time, value, log_offset, append_time, place)
)
SELECT to_jsonb(live) AS live, to_jsonb(rebuilt) AS rebuilt, count(*) OVER () AS total
FROM live
FULL JOIN rebuilt
    ON live.job_id = rebuilt.job_id AND live.name = rebuilt.name AND live.attempt = rebuilt.attempt
    AND live.log_offset = rebuilt.log_offset AND live.nth = rebuilt.nth
WHERE live.nth IS NULL
   OR rebuilt.nth IS NULL
   OR ROW(live.step, live.epoch, live.time, live.value, live.append_time)
    IS DISTINCT FROM ROW(rebuilt.step, rebuilt.epoch, rebuilt.time, rebuilt.value, rebuilt.append_time)
ORDER BY COALESCE(live.job_id, rebuilt.job_id), COALESCE(live.name, rebuilt.name),
    COALESCE(live.attempt, rebuilt.attempt), COALESCE(live.log_offset, rebuilt.log_offset),
    COALESCE(live.nth, rebuilt.nth)
LIMIT :shown_max;

-- name: chunk_summaries_that_differ
-- Of chunks that hold equally many points on both sides: what is said of them all.
SELECT to_jsonb(live) AS live, to_jsonb(rebuilt) AS rebuilt, count(*) OVER () AS total
FROM (SELECT job_id, name, attempt, chunk, points, value_min, value_max, cardinality("values") AS held
      FROM live_schema.metric_chunks) AS live
JOIN (SELECT job_id, name, attempt, chunk, points, value_min, value_max, cardinality("values") AS held
      FROM rebuilt_schema.metric_chunks) AS rebuilt
    USING (job_id, name, attempt, chunk, held)
WHERE ROW(live.points, live.value_min, live.value_max)
    IS DISTINCT FROM ROW(rebuilt.points, rebuilt.value_min, rebuilt.value_max)
ORDER BY job_id, name, attempt, chunk
LIMIT :shown_max;

-- name: wrong_tails
-- Where a live series says that its last chunk stands, and where that stands.
SELECT series.job_id, series.name, series.attempt,
    ARRAY[series.tail_chunk, series.tail_points] AS tail, ARRAY[last.chunk, cardinality(last."values")] AS last
FROM live_schema.metric_series AS series
JOIN LATERAL (
    SELECT chunk, "values" FROM live_schema.metric_chunks AS chunks
    WHERE (chunks.job_id, chunks.name, chunks.attempt) = (series.job_id, series.name, series.attempt)
    ORDER BY chunk DESC
    LIMIT 1
) AS last ON true
WHERE (series.tail_chunk, series.tail_points) <> (last.chunk, cardinality(last."values"))
ORDER BY series.job_id, series.name, series.attempt
LIMIT :shown_max;
