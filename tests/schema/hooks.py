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
def map_path_parameters(_context: Any, path_parameters: Any) -> Any:
    """Put ids of things that exist in place of most that do not."""
    for name in path_parameters or ():
        if name in _KNOWN and _random.random() < 0.7:
            path_parameters[name] = _random.choice(_KNOWN[name])
    return path_parameters


@schemathesis.hook
def map_query(_context: Any, query: Any) -> Any:
    """Ask for hosts that exist."""
    for name in ("host", "command"):
        if query and name in query and _random.random() < 0.7:
            query[name] = _random.choice(_KNOWN[f"{name}_id"])
    return query


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    """Name hosts that exist, so that what follows the look-up is tried, too."""
    if isinstance(body, dict) and isinstance(body.get("groups"), list) and _random.random() < 0.7:
        body["groups"] = _random.sample(_KNOWN["group_name"], 2)
    for part in body.get("tasks", [body]) if isinstance(body, dict) else []:
        target = part.get("target") if isinstance(part, dict) else None
        if isinstance(target, dict) and _random.random() < 0.6:
            part["target"] = {"hosts": _random.sample(_KNOWN["host_id"], 3)}
            for command in part.get("commands") or []:
                if isinstance(command, dict):
                    command.pop("host", None)
    return body


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
