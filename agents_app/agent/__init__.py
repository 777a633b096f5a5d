"""The agent: polls the gateway for work, runs it and reports. Standard library only, Python 3.9+.

Nothing here imports the server, apart from the constants in ``agents_app.protocol``.
"""

AGENT_VERSION = "0.1.0"
