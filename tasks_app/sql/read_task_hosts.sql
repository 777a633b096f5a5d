-- Purpose: one page of a task's targets by name, each with its outcome: the first of failed, lost,
--          canceled, skipped, completed that its rows show; null while one is open. A target without
--          rows is open until its window is done, and was left out by a cancel or stop after that.
-- Locks: none.
-- Index: uniq_task_windows_task_no, idx_commands_task_id, idx_command_hosts_command_status, hosts_pkey.
WITH targets AS (
    SELECT
        frozen.done,
        host_id
    FROM task_windows AS frozen
    CROSS JOIN LATERAL unnest(frozen.host_ids) AS host_id
    WHERE frozen.task_id = %(task)s
),

seen AS (
    SELECT
        entry.host_id,
        bool_or(entry.status = ANY(%(open)s)) AS open,
        bool_or(entry.status = ANY(%(failed)s)) AS failed,
        bool_or(entry.status = 'lost') AS lost,
        bool_or(entry.status = 'canceled') AS canceled,
        bool_or(entry.status = 'skipped') AS skipped,
        bool_or(entry.status = %(state)s) AS matches
    FROM commands AS command
    INNER JOIN commands_hosts AS entry ON command.id = entry.command_id
    WHERE command.task_id = %(task)s
    GROUP BY entry.host_id
),

judged AS (
    SELECT
        host.id,
        host.host_id,
        host.hostname,
        coalesce(seen.matches, false) AS matches,
        CASE
            WHEN seen.host_id IS NULL AND NOT targets.done THEN 'open'
            WHEN seen.host_id IS NULL THEN 'canceled'
            WHEN seen.open THEN 'open'
            WHEN seen.failed THEN 'failed'
            WHEN seen.lost THEN 'lost'
            WHEN seen.canceled THEN 'canceled'
            WHEN seen.skipped THEN 'skipped'
            ELSE 'completed'
        END AS outcome
    FROM targets
    INNER JOIN hosts AS host ON targets.host_id = host.id
    LEFT JOIN seen ON targets.host_id = seen.host_id
    WHERE strpos(lower(host.hostname), lower(%(hostname)s)) > 0 OR %(hostname)s = ''
)

SELECT
    id,
    host_id,
    hostname,
    nullif(outcome, 'open') AS outcome,
    count(*) OVER ()::int AS total
FROM judged
WHERE (%(outcome)s = '' OR outcome = %(outcome)s) AND (%(state)s = '' OR matches)
ORDER BY hostname, id
LIMIT %(limit)s OFFSET %(offset)s
