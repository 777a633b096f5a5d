"""Bearer secrets of agents, scripts and enrolment: made once, shown once, stored as a hash.

A secret reads ``<kind>_<prefix>_<random>``: the prefix finds the record, the whole is hashed.
With 256 random bits a plain SHA-256 is enough; a slow hash protects what people can guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

PREFIX_LENGTH = 12
_ALPHABET = string.ascii_lowercase + string.digits
_FORM = re.compile(r"([a-z]{3})_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A new secret. ``plain`` is for its bearer alone; ``prefix`` and ``hash`` are stored."""

    plain: str = field(repr=False)
    prefix: str
    hash: bytes


def new_secret(kind: str) -> NewSecret:
    """Return a new secret of a kind: three lower-case letters, such as ``dma``."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_LENGTH))
    plain = f"{kind.removesuffix('_')}_{prefix}_{secrets.token_urlsafe(32)}"
    return NewSecret(plain=plain, prefix=prefix, hash=hash_secret(plain))


def hash_secret(plain: str) -> bytes:
    """Return the 32 bytes that are stored of a secret."""
    return hashlib.sha256(plain.encode()).digest()


def split(plain: str, kind: str | None = None) -> str | None:
    """Return the prefix of a secret, or None when it has not the form (or the kind) of one."""
    match = _FORM.fullmatch(plain)
    if match is None or (kind is not None and match[1] != kind.removesuffix("_")):
        return None
    return match[2]


def matches(plain: str, stored: bytes | memoryview) -> bool:
    """Tell whether ``plain`` is the secret of a stored hash, in constant time."""
    return hmac.compare_digest(hash_secret(plain), bytes(stored))
