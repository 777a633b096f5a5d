"""What gunicorn reads by itself, for every server started in this directory."""

from gunicorn import util

from devops_manager.lib.early_refusals import write_refusal

# The application refuses what is longer than half of it, as problem+json.
limit_request_line = 8190

# What the application never sees (a request that cannot be parsed, headers or a line without end)
# gunicorn answers by itself, in HTML. This is the one function with which it does.
util.write_error = write_refusal
