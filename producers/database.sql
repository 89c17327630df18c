-- name: live_schemas
SELECT schema_name FROM write.read_models WHERE state = 'live' ORDER BY projection;
