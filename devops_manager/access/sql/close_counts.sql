-- Purpose: ends the counts whose minute is over; those of one action and source, or all of them.
-- Locks: the rows that it deletes; two at once share them out.
-- Index: uniq_audit_counts_action_source; the whole small table for all.
DELETE FROM audit_counts
WHERE
    since <= statement_timestamp() - make_interval(secs => %(seconds)s)
    AND (%(source)s::text IS NULL OR (action = %(action)s AND source = %(source)s))
RETURNING action, source, actor_kind, actor, host(source_ip) AS source_ip, since, events
