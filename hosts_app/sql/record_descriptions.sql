-- Purpose: writes what hosts are like, where it changed; what is left out stays. A name that a person
--          fixed goes on being shown. Returns the hosts that changed, with the name that they told
--          before and the one that they tell now.
-- Locks: the hosts that changed, FOR NO KEY UPDATE in id order.
-- Index: primary key.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(hosts)s::bigint [], %(names)s::text [], %(systems)s::text [], %(archs)s::text [],
        %(addresses)s::inet [], %(facts)s::jsonb []
    ) AS told (host_id, hostname, os, arch, ip, facts)
),

changed AS MATERIALIZED (
    SELECT
        h.id,
        coalesce(nullif(h.reported_hostname, ''), h.hostname) AS told_before,
        coalesce(given.hostname, h.reported_hostname) AS reported_hostname,
        CASE
            WHEN h.display_name = '' THEN coalesce(given.hostname, h.hostname) ELSE h.hostname
        END AS hostname,
        coalesce(given.os, h.os) AS os,
        coalesce(given.arch, h.arch) AS arch,
        coalesce(given.ip, h.ip) AS ip,
        coalesce(given.facts, h.facts) AS facts
    FROM hosts AS h
    INNER JOIN given ON h.id = given.host_id
    WHERE
        (h.reported_hostname, h.os, h.arch, h.ip, h.facts) IS DISTINCT FROM (
            coalesce(given.hostname, h.reported_hostname),
            coalesce(given.os, h.os),
            coalesce(given.arch, h.arch),
            coalesce(given.ip, h.ip),
            coalesce(given.facts, h.facts)
        )
    ORDER BY h.id
    FOR NO KEY UPDATE OF h
)

UPDATE hosts AS h SET
    hostname = changed.hostname,
    reported_hostname = changed.reported_hostname,
    os = changed.os,
    arch = changed.arch,
    ip = changed.ip,
    facts = changed.facts
FROM changed
WHERE h.id = changed.id
RETURNING h.id, h.host_id, changed.told_before, h.reported_hostname
