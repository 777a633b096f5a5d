"""What the schema's fuzz needs to know of this server: ids that exist, and how errors are told."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import schemathesis

# Ids of things that exist, by the name of the path's parameter; the test writes them.
_KNOWN: dict[str, list[str]] = json.loads(Path(os.environ["DM_SCHEMA_WORLD"]).read_text())
_random = random.Random(0)
_MOSTLY = 0.7
# Well-formed, and refused for what there is and is not at this moment: no schema can tell.
_OF_THE_MOMENT = {
    "already_past",
    "answer_too_large",
    "empty_target",
    "unknown_reference",
    "unknown_target",
}
_REFUSED = {400, 405, 406, 411, 413, 414, 415, 422}


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Put what exists in place of most that does not, so that what follows is tried, too."""
    for values in (case.path_parameters, case.query):
        for name in values or ():
            known = _KNOWN.get(name) or _KNOWN.get(f"{name}_id")
            # Never the token that asks: whoever lists tokens learns its id.
            if known and (name == "token_id" or _random.random() < _MOSTLY):
                values[name] = _random.choice(known)
    if isinstance(case.body, dict):
        _name_what_exists(case.body)


def _name_what_exists(body: dict[str, Any]) -> None:
    if isinstance(body.get("hosts"), list) and _random.random() < _MOSTLY:
        body["hosts"] = _random.sample(_KNOWN["target_id"], 2)
    if isinstance(body.get("groups"), list) and _random.random() < _MOSTLY:
        body["groups"] = _random.sample(_KNOWN["group_name"], 2)
    tasks = body.get("tasks", [body])
    for part in tasks if isinstance(tasks, list) else []:
        target = part.get("target") if isinstance(part, dict) else None
        if isinstance(target, dict) and _random.random() < _MOSTLY:
            part["target"] = {"hosts": _random.sample(_KNOWN["target_id"], 3)}
            commands = part.get("commands")
            for command in commands if isinstance(commands, list) else []:
                if isinstance(command, dict):
                    command.pop("host", None)


@schemathesis.check
def valid_is_not_refused(_ctx: Any, response: Any, case: Any) -> None:
    """Fail when what the schema calls valid is refused as malformed."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive:
        return
    if response.status_code not in _REFUSED:
        return
    problem = response.json()
    assert problem["code"] in _OF_THE_MOMENT, f"valid, and refused: {problem}"


@schemathesis.check
def refusals_are_problems(_ctx: Any, response: Any, _case: Any) -> None:
    """Fail when an error is anything but problem+json with a code."""
    if response.status_code >= 400:
        kind = response.headers.get("content-type", [""])[0]
        assert kind == "application/problem+json", kind
        assert response.json()["code"]
