"""Every pair of colours that text is set in can be read (WCAG 2.2 AA), by day and by night."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = Path(__file__).parents[2] / "static" / "css" / "app.css"
PALETTES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", CSS.read_text(encoding="utf-8"), re.DOTALL)
]
GROUNDS = ("bg", "surface", "sunken")
PAIRS = [(text, ground) for text in ("text", "muted", "accent", "bad") for ground in GROUNDS]
PAIRS += [(look, f"{look}-bg") for look in ("ok", "bad", "warn", "odd", "busy", "idle")]
PAIRS += [(look, "surface") for look in ("ok", "warn", "busy")]
PAIRS += [("on-accent", "accent"), ("surface", "bad")]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark"])
def test_text_can_be_read(palette: dict[str, str]) -> None:
    poor = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}
