-- name: tables
SELECT relname AS name FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema_name) AND relkind = 'r'
ORDER BY relname;

-- name: columns
SELECT attname AS name FROM pg_attribute
WHERE attrelid = format('%I.%I', :schema_name::text, :table::text)::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- name: key_columns
SELECT attribute.attname AS name
FROM pg_index AS index
CROSS JOIN unnest(index.indkey) WITH ORDINALITY AS part (attnum, place)
JOIN pg_attribute AS attribute ON attribute.attrelid = index.indrelid AND attribute.attnum = part.attnum
WHERE index.indrelid = format('%I.%I', :schema_name::text, :table::text)::regclass AND index.indisprimary
ORDER BY part.place;
