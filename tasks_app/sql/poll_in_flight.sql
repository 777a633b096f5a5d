-- Purpose: what these hosts have in hand, for counting slots and for reconciliation.
--          Ordered only so that, with pin_order, no other index can look cheaper.
-- Locks: none of its own. Under the hosts' locks (poll_lock) the set can only shrink, by reports.
-- Index: idx_command_hosts_in_flight, tasks_pkey. What has a fence and has not ended is claimed or running; said by
--        the state, indexes of all open rows looked as good in a quiet hour's statistics.
SELECT
    id,
    host_id,
    command_id,
    fence,
    attempt,
    status,
    cancel_requested_at,
    coalesce(delivery_deadline < now(), false) AS out_of_time,
    (SELECT task.stop_requested_at FROM tasks AS task WHERE task.id = commands_hosts.task_id) IS NOT NULL
        AS stopped,
    delivered_journal,
    delivered_instance,
    delivered_run,
    delivered_seq
FROM commands_hosts
WHERE
    host_id = ANY(%(hosts)s::bigint [])
    AND fence IS NOT NULL
    AND finished_at IS NULL
ORDER BY host_id
