-- Purpose: the ended rows of one step by what they came to, the largest group first: state, exit code
--          and normalised output. Each group names its first few hosts.
-- Locks: none.
-- Index: idx_command_hosts_command_status or uniq_command_hosts_command_host.
SELECT
    status,
    exit_code,
    output_digest_normalized AS digest,
    count(*)::int AS rows,
    count(*) OVER ()::int AS total,
    (array_agg(host_id ORDER BY host_id))[1:%(sample)s] AS hosts
FROM commands_hosts
WHERE command_id = %(command)s AND status = ANY(%(ended)s)
GROUP BY status, exit_code, output_digest_normalized
ORDER BY rows DESC, status, exit_code, digest
LIMIT %(limit)s OFFSET %(offset)s
