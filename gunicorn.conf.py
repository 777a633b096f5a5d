"""Read by gunicorn in this directory: the application alone says which proxy is believed.

gunicorn believes ``X-Forwarded-Proto`` from the loopback address and from every Unix socket, and
lets such peers set ``SCRIPT_NAME``. Here only DM_TRUSTED_PROXIES does, for all headers alike.
"""

secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = ""
forwarder_headers = ""
# The application refuses what is longer than half of it, as problem+json.
limit_request_line = 8190
