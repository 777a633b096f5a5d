"""``python -m agents_app.agent``: the agent from a source tree."""

from __future__ import annotations

import sys

from agents_app.agent.main import main

sys.exit(main())
