-- Purpose: writes what hosts are like, where it changed; what is left out stays.
-- Locks: the hosts that changed, FOR NO KEY UPDATE in id order.
-- Index: primary key.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(hosts)s::bigint [], %(systems)s::text [], %(archs)s::text [], %(addresses)s::inet [],
        %(facts)s::jsonb []
    ) AS told (host_id, os, arch, ip, facts)
),

changed AS MATERIALIZED (
    SELECT
        h.id,
        coalesce(given.os, h.os) AS os,
        coalesce(given.arch, h.arch) AS arch,
        coalesce(given.ip, h.ip) AS ip,
        coalesce(given.facts, h.facts) AS facts
    FROM hosts AS h
    INNER JOIN given ON h.id = given.host_id
    WHERE
        (h.os, h.arch, h.ip, h.facts) IS DISTINCT FROM (
            coalesce(given.os, h.os),
            coalesce(given.arch, h.arch),
            coalesce(given.ip, h.ip),
            coalesce(given.facts, h.facts)
        )
    ORDER BY h.id
    FOR NO KEY UPDATE OF h
)

UPDATE hosts AS h SET
    os = changed.os,
    arch = changed.arch,
    ip = changed.ip,
    facts = changed.facts
FROM changed
WHERE h.id = changed.id
RETURNING h.id
