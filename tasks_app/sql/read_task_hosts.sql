-- Purpose: one page of a task's targets by name, each with its outcome: the first of failed, lost,
--          canceled, skipped, completed that its rows show; open while one is open. A target without
--          rows is open until its window is done, and was left out by a cancel or stop after that.
--          Targets and rows are grouped together rather than joined, and named before they are
--          ordered: the planner cannot know how many hosts a window holds, and took 5 s for 10,000.
-- Locks: none.
-- Index: uniq_task_windows_task_no, idx_commands_task_id, idx_command_hosts_command_status or
--        uniq_command_hosts_command_host, hosts_pkey. OFFSET 0: the rows of the task's steps, never
--        all there are.
WITH marks AS (
    SELECT
        host_id,
        frozen.done,
        NULL::text AS status
    FROM task_windows AS frozen
    CROSS JOIN LATERAL unnest(frozen.host_ids) AS host_id
    WHERE frozen.task_id = %(task)s
    UNION ALL
    SELECT
        entry.host_id,
        NULL,
        entry.status
    FROM commands AS command
    CROSS JOIN LATERAL (
        SELECT
            row.host_id,
            row.status
        FROM commands_hosts AS row
        WHERE row.command_id = command.id
        OFFSET 0
    ) AS entry
    WHERE command.task_id = %(task)s
),

judged AS MATERIALIZED (
    SELECT
        host_id,
        bool_or(status = ANY(%(states)s::text [])) AS matches,
        CASE
            WHEN bool_or(status = ANY(%(open)s)) THEN 'open'
            WHEN bool_or(status = ANY(%(failed)s)) THEN 'failed'
            WHEN bool_or(status = 'lost') THEN 'lost'
            WHEN bool_or(status = 'canceled') THEN 'canceled'
            WHEN bool_or(status = 'skipped') THEN 'skipped'
            WHEN bool_or(status IS NOT NULL) THEN 'completed'
            WHEN bool_or(done) THEN 'canceled'
            ELSE 'open'
        END AS outcome
    FROM marks
    GROUP BY host_id
),

named AS MATERIALIZED (
    SELECT
        host.id,
        host.host_id,
        host.hostname,
        judged.outcome
    FROM judged
    INNER JOIN hosts AS host ON judged.host_id = host.id
    WHERE
        (%(outcomes)s::text [] = '{}' OR judged.outcome = ANY(%(outcomes)s::text []))
        AND (%(states)s::text [] = '{}' OR judged.matches)
        AND (%(hostname)s = '' OR strpos(lower(host.hostname), lower(%(hostname)s)) > 0)
)

SELECT
    id,
    host_id,
    hostname,
    nullif(outcome, 'open') AS outcome,
    count(*) OVER ()::int AS total
FROM named
ORDER BY hostname, id
LIMIT %(limit)s OFFSET %(offset)s
