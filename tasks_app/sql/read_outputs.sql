-- Purpose: the kept output of one page of rows, cut to a limit for each stream: all of it where it
--          fits, else the first and the last half of the limit. Head and tail are one text only while
--          nothing was dropped between them. "before" is what lies directly before such a last half,
--          at most so much as asked for: it tells where the characters of the half begin.
-- Locks: none.
-- Index: command_outputs_pkey of the days on which the rows ended.
WITH wanted AS (
    SELECT *
    FROM unnest(%(rows)s::bigint [], %(attempts)s::int [], %(ended)s::timestamptz [])
        AS given (row_id, attempt, ended_at)
),

streams AS (
    SELECT
        wanted.row_id,
        stream.*,
        octet_length(stream.head) AS head_bytes,
        octet_length(stream.tail) AS tail_bytes
    FROM wanted
    INNER JOIN command_outputs AS kept
        ON
            wanted.row_id = kept.command_host_id
            AND wanted.attempt = kept.attempt
            AND wanted.ended_at = kept.created_at
    CROSS JOIN LATERAL (
        VALUES
        ('stdout', kept.stdout_head, kept.stdout_tail, kept.stdout_dropped_bytes),
        ('stderr', kept.stderr_head, kept.stderr_tail, kept.stderr_dropped_bytes)
    ) AS stream (name, head, tail, dropped)
    WHERE stream.name = ANY(%(streams)s)
)

SELECT
    row_id,
    name,
    head_bytes + tail_bytes + dropped AS total,
    CASE
        WHEN dropped = 0 AND head_bytes + tail_bytes <= %(limit)s THEN head || tail
        WHEN dropped = 0 THEN substr(head || tail, 1, %(limit)s / 2)
        ELSE substr(head, 1, %(limit)s / 2)
    END AS head,
    CASE
        WHEN dropped = 0 AND head_bytes + tail_bytes <= %(limit)s THEN ''::bytea
        WHEN dropped = 0
            THEN substr(head || tail, head_bytes + tail_bytes - %(limit)s / 2 + 1)
        ELSE substr(tail, greatest(1, tail_bytes - %(limit)s / 2 + 1))
    END AS tail,
    CASE
        WHEN dropped = 0 AND head_bytes + tail_bytes <= %(limit)s THEN ''::bytea
        WHEN dropped = 0
            THEN substr(
                head || tail,
                greatest(1, head_bytes + tail_bytes - %(limit)s / 2 - %(before)s + 1),
                least(%(before)s, head_bytes + tail_bytes - %(limit)s / 2)
            )
        ELSE substr(
            tail,
            greatest(1, tail_bytes - %(limit)s / 2 - %(before)s + 1),
            greatest(0, least(%(before)s, tail_bytes - %(limit)s / 2))
        )
    END AS before,
    dropped = 0 AND head_bytes + tail_bytes - %(limit)s / 2 <= %(before)s AS before_is_all
FROM streams
