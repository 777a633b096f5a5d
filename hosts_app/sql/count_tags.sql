-- Purpose: the distinct tags of hosts that are neither disabled nor retired, each with how many hosts have it.
-- Locks: none.
-- Index: hosts in whole (10,000 rows).
SELECT
    given.tag,
    count(*) AS hosts
FROM hosts AS h
CROSS JOIN LATERAL jsonb_array_elements_text(h.tags) AS given (tag)
WHERE h.status NOT IN ('disabled', 'retired') AND strpos(given.tag, %(contains)s) > 0
GROUP BY given.tag
ORDER BY given.tag
