"""What an agent may call itself: nothing that a page would show as something else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_app.gateway.messages import EnrollMessage

GOOD = {"token": "t", "hostname": "web-1", "os": "Debian 12", "arch": "x86_64", "machine_id": "m"}
# A control character, a C1 escape (CSI), bidi override, isolate and mark, line separator.
FORGING = ["a\nb", "a\x9b31mb", "a\u202eb", "a\u2066b", "a\u200fb", "a\u2028b"]
# What shows nothing: zero-width space and joiner, soft hyphen, word joiner, byte order mark, a
# variation selector, a tag character, a Hangul filler, an empty Braille cell.
FORGING += ["a\u200bb", "a\u200db", "a\u00adb", "a\u2060b", "a\ufeffb", "a\ufe0fb"]
FORGING += ["a\U000e0041b", "a\u3164b", "a\u2800b"]


def enroll(**fields: Any) -> EnrollMessage:
    return msgspec.convert({**GOOD, **fields}, EnrollMessage)


@pytest.mark.parametrize("field", ["hostname", "os", "arch", "machine_id", "agent_version"])
@pytest.mark.parametrize("text", FORGING, ids=ascii)
def test_text_that_forges_what_is_shown_is_refused(field: str, text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        enroll(**{field: text})


def test_names_in_any_script_are_taken() -> None:
    assert enroll(hostname="服务器-1", os="银河麒麟 V10").hostname == "服务器-1"
