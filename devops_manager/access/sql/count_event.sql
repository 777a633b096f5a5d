-- Purpose: counts an event that may be caused by anybody, within its source's minute.
-- Locks: the count's row.
-- Index: uniq_audit_counts_action_source.
INSERT INTO audit_counts AS counted (action, source, actor_kind, actor, source_ip, since, events)
VALUES (
    %(action)s, %(source)s, %(actor_kind)s, %(actor)s, %(source_ip)s::inet, statement_timestamp(), 1
)
ON CONFLICT (action, source) DO UPDATE SET events = counted.events + 1
RETURNING events
