-- Purpose: ends rows that a poll gave no account of: "interrupted" where the command may have started,
--          never started where the delivery provably did not arrive. Only while that poll is still
--          the newest of its host.
-- Locks: the rows in id order, after tasks and hosts, before commands.
-- Index: commands_hosts_pkey, host_sessions_pkey.
WITH given AS (
    SELECT *
    FROM unnest(
        %(rows)s::bigint [], %(never_started)s::bool [], %(journals)s::uuid [], %(runs)s::bigint [],
        %(seqs)s::bigint []
    ) AS ends (id, never_started, journal_id, run, seq)
),

locked AS (
    SELECT
        row.id,
        row.status AS old_status,
        given.never_started,
        row.cancel_requested_at IS NOT NULL OR (
            SELECT task.stop_requested_at FROM tasks AS task WHERE task.id = row.task_id
        ) IS NOT NULL AS unwanted
    FROM given
    INNER JOIN commands_hosts AS row ON given.id = row.id
    INNER JOIN host_sessions AS session
        ON
            row.host_id = session.host_id
            AND given.journal_id = session.journal_id
            AND given.run = session.run
            AND given.seq = session.seq
    WHERE
        (NOT given.never_started OR row.status = 'claimed')
        AND (
            row.delivered_journal <> given.journal_id
            OR (row.delivered_run, row.delivered_seq) < (given.run, given.seq)
        )
    ORDER BY row.id
    FOR NO KEY UPDATE OF row
)

UPDATE commands_hosts AS row SET
    status = CASE
        WHEN NOT locked.never_started THEN 'interrupted'
        WHEN locked.unwanted THEN 'canceled'
        ELSE 'dispatch_failed'
    END,
    error_code = CASE
        WHEN NOT locked.never_started THEN 'not_accounted_for'
        WHEN locked.unwanted THEN ''
        ELSE 'delivery_time_over'
    END,
    finished_at = now(),
    cancel_state = CASE
        WHEN row.cancel_requested_at IS NULL THEN row.cancel_state
        WHEN locked.never_started THEN 'confirmed'
        ELSE 'unknown'
    END,
    revision = pg_current_xact_id()::text::bigint
FROM locked
WHERE row.id = locked.id AND locked.old_status IN ('claimed', 'running')
RETURNING row.id, row.task_id, row.host_id, row.command_id, locked.old_status, row.status
