-- Purpose: makes accepted polls the newest of their hosts, where journal and instance are those that
--          are stored; poll_store does it for the others.
-- Locks: host_sessions rows, under the hosts' locks.
-- Index: host_sessions_pkey.
UPDATE host_sessions AS stored SET
    run = given.run,
    seq = given.seq
FROM unnest(%(hosts)s::bigint [], %(runs)s::bigint [], %(seqs)s::bigint []) AS given (host_id, run, seq)
WHERE stored.host_id = given.host_id
