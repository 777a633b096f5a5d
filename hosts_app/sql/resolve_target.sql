-- Purpose: resolves a target to the primary keys of active, not quarantined hosts, in order.
-- allowed_groups null: every host; else only members of these groups.
-- What is named is found first, so that a target of three hosts costs three look-ups; the lists of
-- exclusions are IN (SELECT ...), which is hashed, where = ANY goes through a list for each host.
-- OFFSET 0: without statistics an index on the status looks as good as the key, and is not.
-- Locks: none.
-- Index: the unique one on hosts.host_id, idx_hosts_tags, uniq_host_group_member, hosts_pkey;
-- hosts in whole (10,000 rows) for "all".
WITH named AS (
    SELECT id FROM hosts WHERE %(all)s
    UNION
    SELECT id FROM hosts WHERE host_id = ANY (%(hosts)s::uuid[])
    UNION
    SELECT id FROM hosts WHERE tags ?| %(tags)s::text[]
    UNION
    SELECT host_id FROM host_group_members WHERE group_id = ANY (%(groups)s::bigint[])
)
SELECT h.id
FROM named
CROSS JOIN LATERAL (SELECT * FROM hosts WHERE id = named.id OFFSET 0) h
WHERE h.status = 'active'
  AND h.quarantined_at IS NULL
  AND h.host_id NOT IN (SELECT unnest(%(exclude_hosts)s::uuid[]))
  AND NOT h.tags ?| %(exclude_tags)s::text[]
  AND NOT EXISTS (SELECT FROM host_group_members m
                  WHERE m.host_id = h.id AND m.group_id = ANY (%(exclude_groups)s::bigint[]))
  AND (%(allowed_groups)s::bigint[] IS NULL
       OR EXISTS (SELECT FROM host_group_members m
                  WHERE m.host_id = h.id AND m.group_id = ANY (%(allowed_groups)s::bigint[])))
ORDER BY h.id
