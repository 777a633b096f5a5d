"""Machine ids: which of them say which machine it is, and which are none."""

from __future__ import annotations

import re

_NOISE = re.compile(r"[^0-9a-z]")
# Letters and digits only. systemd's mark of an image that was not started yet, what scripts print
# where nothing was found, and what firmware has where its maker filled in nothing.
_PLACEHOLDERS = frozenset(
    {
        "uninitialized",
        "none",
        "null",
        "nil",
        "na",
        "unknown",
        "undefined",
        "localhost",
        "default",
        "defaultstring",
        "notspecified",
        "notapplicable",
        "notavailable",
        "notpresent",
        "notsettable",
        "tobefilledbyoem",
        "systemserialnumber",
        "systemuuid",
        # AMI and others: one default in both byte orders
        "03000200040005000006000700080009",
        "00020003000400050006000700080009",
        # counted through, from documentation and from boards
        "0123456789",
        "123456789",
        "1234567890",
        "12345678123412341234123456789abc",
        "123456781234567890abcddeefaabbcc",
        "fedcba9876543210fedcba9876543210",
        # Dell without a service tag
        "4c4c4544000020108020800000000000",
        "4c4c454400002010802080c04f202020",
    }
)


def real_machine_id(text: str) -> str:
    """Return a machine id as it was told, or nothing where it does not tell machines apart.

    Blank ones, those of a single character over and over (all zero, all f), and placeholders of
    systemd, scripts and firmware: hosts with these are strangers to each other.
    """
    told = text.strip()
    letters = _NOISE.sub("", told.lower())
    if len(set(letters)) <= 1 or letters in _PLACEHOLDERS:
        return ""
    return told
