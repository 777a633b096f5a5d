-- Purpose: counts a wrong password in one bucket. The count begins anew when its time is over; the
--          time begins anew when the limit is reached, and not at the tries after that.
-- Locks: the bucket's row.
-- Index: the unique one on axes_accessattempt (username, ip_address, user_agent).
INSERT INTO axes_accessattempt AS bucket (
    username, ip_address, user_agent, http_accept, path_info, get_data, post_data, attempt_time,
    failures_since_start
)
VALUES (
    %(username)s, %(address)s::inet, %(kind)s, '', '', '', '', statement_timestamp(), 1
)
ON CONFLICT (username, ip_address, user_agent) DO UPDATE SET
    failures_since_start = CASE
        WHEN bucket.attempt_time <= statement_timestamp() - make_interval(secs => %(seconds)s)
            THEN 1
        ELSE bucket.failures_since_start + 1
    END,
    attempt_time = CASE
        WHEN
            bucket.attempt_time <= statement_timestamp() - make_interval(secs => %(seconds)s)
            OR bucket.failures_since_start + 1 = %(limit)s
            THEN statement_timestamp()
        ELSE bucket.attempt_time
    END
RETURNING failures_since_start AS failures
