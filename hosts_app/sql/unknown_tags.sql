-- Purpose: names the tags that no host has.
-- Locks: none.
-- Index: idx_hosts_tags.
SELECT given.tag
FROM unnest(%(tags)s::text[]) WITH ORDINALITY AS given (tag, no)
WHERE NOT EXISTS (SELECT FROM hosts h WHERE h.tags ? given.tag)
ORDER BY given.no
