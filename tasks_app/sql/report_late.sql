-- Purpose: keeps a result that came after a retry with its attempt; it changes nothing else.
-- Locks: command_host_attempts rows.
-- Index: command_host_attempts_fence_key.
UPDATE command_host_attempts AS earlier SET
    status = given.status,
    exit_code = given.exit_code,
    error_code = given.error_code,
    error_message = given.error_message,
    execution_time = given.execution_time,
    output_digest = given.output_digest,
    output_digest_normalized = given.output_digest_normalized,
    result_digest = given.result_digest,
    late_result_at = now()
FROM unnest(
    %(fences)s::uuid [], %(statuses)s::text [], %(exit_codes)s::int [], %(error_codes)s::text [],
    %(error_messages)s::text [], %(execution_times)s::bigint [], %(output_digests)s::bytea [],
    %(normalized)s::bytea [], %(digests)s::bytea [], %(hosts)s::bigint []
) AS given (
    fence, status, exit_code, error_code, error_message, execution_time,
    output_digest, output_digest_normalized, result_digest, host_id
)
INNER JOIN commands_hosts AS row ON given.host_id = row.host_id
WHERE
    earlier.fence = given.fence
    AND earlier.command_host_id = row.id
    AND earlier.result_digest IS NULL
RETURNING earlier.fence, earlier.command_host_id, earlier.attempt
