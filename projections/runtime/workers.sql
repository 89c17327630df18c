-- name: sign_of_life!
INSERT INTO write.workers (process, host, pid, seen_at) VALUES (:process, :host, :pid, now())
ON CONFLICT (process, host, pid) DO UPDATE SET seen_at = now();

-- name: forget_dead!
DELETE FROM write.workers WHERE seen_at < now() - interval '10 minutes';

-- name: sign_off!
DELETE FROM write.workers WHERE process = :process AND host = :host AND pid = :pid;
