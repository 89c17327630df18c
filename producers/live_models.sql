-- name: live_models
SELECT projection FROM write.read_models WHERE state = 'live' ORDER BY projection;
