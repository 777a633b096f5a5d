-- Purpose: writes results where the fence still matches and the state allows it, and keeps their capped
--          output in the partition of the day (created_at equals finished_at: both are now()).
--          An interruption that the server inferred (it has no result) gives way to a result.
--          The state is read first and not locked, which would cost as much again as writing it: only
--          a look-up can move such a row meanwhile, to running. Then it is not written, the caller sees
--          that it could be, and the batch runs again.
-- Locks: the rows in id order as they are written, after tasks (tasks_lock), before commands.
-- Index: commands_hosts_pkey, hosts_pkey, command_outputs_pkey of the day.
WITH given AS (
    SELECT *
    FROM unnest(
        %(rows)s::bigint [], %(fences)s::uuid [], %(hosts)s::bigint [], %(generations)s::int [],
        %(statuses)s::text [], %(exit_codes)s::int [], %(error_codes)s::text [], %(error_messages)s::text [],
        %(execution_times)s::bigint [], %(output_digests)s::bytea [], %(normalized)s::bytea [],
        %(digests)s::bytea [],
        %(stdout_heads)s::bytea [], %(stdout_tails)s::bytea [], %(stdout_dropped)s::bigint [],
        %(stderr_heads)s::bytea [], %(stderr_tails)s::bytea [], %(stderr_dropped)s::bigint []
    ) AS results (
        row_id, fence, host_id, generation, status, exit_code, error_code, error_message, execution_time,
        output_digest, output_digest_normalized, result_digest,
        stdout_head, stdout_tail, stdout_dropped, stderr_head, stderr_tail, stderr_dropped
    )
),

old AS MATERIALIZED (
    SELECT
        row.id,
        row.host_id AS row_host_id,
        row.status AS old_status,
        row.result_digest IS NOT NULL AS reported,
        host.status = 'active' AND host.credential_generation = given.generation AS allowed,
        given.*
    FROM given
    INNER JOIN commands_hosts AS row ON given.row_id = row.id AND given.fence = row.fence
    CROSS JOIN LATERAL (
        SELECT
            status,
            credential_generation
        FROM hosts
        WHERE id = given.host_id
        OFFSET 0
    ) AS host
    ORDER BY row.id
),

written AS (
    UPDATE commands_hosts AS row SET
        status = old.status,
        exit_code = old.exit_code,
        error_code = old.error_code,
        error_message = old.error_message,
        execution_time = old.execution_time,
        output_digest = old.output_digest,
        output_digest_normalized = old.output_digest_normalized,
        result_digest = old.result_digest,
        started_at = coalesce(
            row.started_at,
            CASE
                WHEN old.execution_time IS NOT NULL
                    THEN greatest(
                        row.claimed_at, now() - make_interval(secs => old.execution_time / 1000.0)
                    )
            END
        ),
        finished_at = now(),
        cancel_state = CASE
            WHEN row.cancel_requested_at IS NULL THEN row.cancel_state
            WHEN old.status = 'canceled' THEN 'confirmed'
            WHEN old.status = 'interrupted' THEN 'unknown'
            ELSE 'too_late'
        END,
        revision = pg_current_xact_id()::text::bigint
    FROM old
    WHERE
        row.id = old.id
        AND row.fence = old.fence
        AND row.status = old.old_status
        AND old.row_host_id = old.host_id
        AND old.allowed
        AND old.old_status = ANY(%(sources)s::text [])
        AND (old.old_status <> 'interrupted' OR NOT old.reported)
    RETURNING
        row.id, row.task_id, row.host_id, row.command_id, old.old_status, row.status,
        row.fence, row.attempt,
        old.stdout_head, old.stdout_tail, old.stdout_dropped,
        old.stderr_head, old.stderr_tail, old.stderr_dropped
),

kept AS (
    INSERT INTO command_outputs (
        command_host_id, attempt, created_at,
        stdout_head, stdout_tail, stdout_dropped_bytes,
        stderr_head, stderr_tail, stderr_dropped_bytes
    )
    SELECT
        id,
        attempt,
        now(),
        stdout_head,
        stdout_tail,
        stdout_dropped,
        stderr_head,
        stderr_tail,
        stderr_dropped
    FROM written
)

SELECT
    id,
    task_id,
    host_id,
    command_id,
    old_status,
    status,
    fence
FROM written
