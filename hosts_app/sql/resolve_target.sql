-- Purpose: resolves a target to the primary keys of active, not quarantined hosts, in order.
-- allowed_groups null: every host; else only members of these groups.
-- Locks: none.
-- Index: hosts in whole (10,000 rows) for "all"; else idx_hosts_tags, uniq_host_group_member and
-- the unique one on hosts.host_id.
SELECT h.id
FROM hosts h
WHERE h.status = 'active'
  AND h.quarantined_at IS NULL
  AND (%(all)s
       OR h.host_id = ANY (%(hosts)s::uuid[])
       OR h.tags ?| %(tags)s::text[]
       OR EXISTS (SELECT FROM host_group_members m
                  WHERE m.host_id = h.id AND m.group_id = ANY (%(groups)s::bigint[])))
  AND NOT h.host_id = ANY (%(exclude_hosts)s::uuid[])
  AND NOT h.tags ?| %(exclude_tags)s::text[]
  AND NOT EXISTS (SELECT FROM host_group_members m
                  WHERE m.host_id = h.id AND m.group_id = ANY (%(exclude_groups)s::bigint[]))
  AND (%(allowed_groups)s::bigint[] IS NULL
       OR EXISTS (SELECT FROM host_group_members m
                  WHERE m.host_id = h.id AND m.group_id = ANY (%(allowed_groups)s::bigint[])))
ORDER BY h.id
