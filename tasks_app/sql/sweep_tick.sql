-- Purpose: notes that a sweep runs now, and says whether it must not judge anybody yet: after it stood
--          still too long, agents first get time to be heard.
-- Locks: the sweep's row.
-- Index: sweep_ticks_pkey.
INSERT INTO sweep_ticks AS tick (name, ticked_at) VALUES (%(sweep)s, now())
ON CONFLICT (name) DO UPDATE SET
    ticked_at = now(),
    grace_until = CASE
        WHEN tick.ticked_at < now() - make_interval(secs => %(stall_seconds)s::float8)
            THEN now() + make_interval(secs => %(grace_seconds)s::float8)
        ELSE tick.grace_until
    END
RETURNING coalesce(grace_until > now(), false) AS stalled
