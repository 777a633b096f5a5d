-- Purpose: looks up hosts named by public id: may they be given work, may the caller reach them?
-- Locks: none.
-- Index: the unique one on hosts.host_id; uniq_host_group_member.
SELECT h.host_id,
       h.status,
       h.quarantined_at IS NOT NULL AS quarantined,
       (%(allowed_groups)s::bigint[] IS NULL
        OR EXISTS (SELECT FROM host_group_members m
                   WHERE m.host_id = h.id AND m.group_id = ANY (%(allowed_groups)s::bigint[])))
           AS reachable
FROM hosts h
WHERE h.host_id = ANY (%(hosts)s::uuid[])
