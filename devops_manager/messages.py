"""Keeps the translations complete: ``python -m devops_manager.messages check|update|compile``.

Strings are taken from Python and from templates with Babel: no gettext binaries are needed, and no
settings are read. ``check`` is part of ``make lint``: every string has a translation into
Simplified Chinese that is not fuzzy and keeps its placeholders, nothing is left over, and the
compiled file is the one that the text gives.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = Path("locale") / "zh_Hans" / "LC_MESSAGES" / "django.po"
SOURCES = ("devops_manager", "hosts_app", "tasks_app", "agents_app")
TEMPLATES = ("templates",)
# Translation functions: which argument is the context (0: none), and which are the texts.
KEYWORDS: dict[str, tuple[int, tuple[int, ...]]] = {
    "_": (0, (1,)),
    "gettext": (0, (1,)),
    "gettext_lazy": (0, (1,)),
    "gettext_noop": (0, (1,)),
    "ngettext": (0, (1, 2)),
    "ngettext_lazy": (0, (1, 2)),
    "pgettext": (1, (2,)),
    "pgettext_lazy": (1, (2,)),
    "npgettext": (1, (2, 3)),
    "npgettext_lazy": (1, (2, 3)),
}
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sdr]|\{\w*\}")
_VOLATILE = re.compile(
    r'^"(POT-Creation-Date|PO-Revision-Date|Generated-By|Last-Translator|Report-Msgid-Bugs-To'
    r"|Language-Team):.*\n",
    re.MULTILINE,
)
_NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
_HEADER = """\
Simplified Chinese translations of DevOps Manager.
Update with `python -m devops_manager.messages update`, compile with `… compile`."""


@dataclass(frozen=True, slots=True)
class _Found:
    """One call of a translation function: msgid (and plural), context, where, comments."""

    texts: tuple[str, ...]
    context: str | None
    line: int
    comments: list[str]

    @property
    def message_id(self) -> str | tuple[str, ...]:
        """Return the msgid, or msgid and plural."""
        return self.texts[0] if len(self.texts) == 1 else self.texts


def _calls(source: bytes) -> Iterator[_Found]:
    """Yield the calls with literal texts; a call with a variable holds nothing to translate."""
    found = extract_python(io.BytesIO(source), dict.fromkeys(KEYWORDS), ["Translators:"], {})
    for line, function, arguments, comments in found:
        given = cast("tuple[str | None, ...] | str", arguments)
        strings = (given,) if isinstance(given, str) else tuple(given or ())
        context, positions = KEYWORDS[str(function)]
        texts = tuple(strings[index - 1] or "" for index in positions if index <= len(strings))
        if len(texts) == len(positions) and all(texts):
            yield _Found(
                texts=texts,
                context=strings[context - 1] if context else None,
                line=line,
                comments=list(comments or []),
            )


def _template_source(path: Path) -> bytes:
    # In brackets, so that the indentation of HTML is not taken for Python's.
    return f"({templatize(path.read_text(encoding='utf-8'), origin=str(path))}\n)".encode()


def extract(root: Path) -> Catalog:
    """Return every string of the project that people may see, with the files that hold it."""
    catalogue = Catalog(charset="utf-8")
    paths = [path for name in SOURCES for path in (root / name).rglob("*.py")]
    paths += [
        path
        for name in TEMPLATES
        for suffix in ("*.html", "*.txt")
        for path in (root / name).rglob(suffix)
    ]
    for path in sorted(paths):
        source = path.read_bytes() if path.suffix == ".py" else _template_source(path)
        for call in _calls(source):
            catalogue.add(
                call.message_id,
                locations=[(path.relative_to(root).as_posix(), call.line)],
                auto_comments=call.comments,
                context=call.context,
            )
    return catalogue


def load(root: Path) -> Catalog:
    """Return the Chinese catalogue as committed; an empty one when there is none yet."""
    path = root / CATALOGUE
    if not path.exists():
        return Catalog(locale="zh_Hans", charset="utf-8")
    with path.open("rb") as stream:
        return read_po(stream, locale="zh_Hans", charset="utf-8")


def _texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _differs(message: Message) -> bool:
    """Tell whether a translation's placeholders are not those of the original (its last form)."""
    wanted = sorted(set(_PLACEHOLDER.findall(_texts(message.id)[-1])))
    return any(sorted(set(_PLACEHOLDER.findall(text))) != wanted for text in _texts(message.string))


def problems(root: Path) -> list[str]:
    """Return what is wrong with the translations, a line each; empty when all is well."""
    wanted, have = extract(root), load(root)
    lines: list[str] = []
    for message in wanted:
        if not message.id:
            continue
        where = ", ".join(name for name, _line in message.locations[:3])
        label = repr(_texts(message.id)[0])
        found = have.get(message.id, message.context)
        if found is None or not all(_texts(found.string)) or not _texts(found.string):
            lines.append(f"not translated: {label} ({where})")
        elif found.fuzzy:
            lines.append(f"fuzzy: {label} ({where})")
        elif _differs(found):
            lines.append(f"other placeholders than the original: {label} ({where})")
    lines += [
        f"no longer used: {_texts(message.id)[0]!r} (run update)"
        for message in have
        if message.id and wanted.get(message.id, message.context) is None
    ]
    lines += [f"no longer used: {message_id!r} (run update)" for message_id in have.obsolete]
    compiled = (root / CATALOGUE).with_suffix(".mo")
    if not compiled.exists() or compiled.read_bytes() != _compiled(have):
        lines.append(f"{compiled.relative_to(root)} is not what the .po gives (run compile)")
    return lines


def _dateless(catalogue: Catalog) -> Catalog:
    """Keep today's date out of the files: they change when a translation does, and only then."""
    catalogue.creation_date = catalogue.revision_date = _NO_DATE
    return catalogue


def _compiled(catalogue: Catalog) -> bytes:
    stream = io.BytesIO()
    write_mo(stream, _dateless(catalogue))
    return stream.getvalue()


def compile_catalogue(root: Path) -> None:
    """Write the .mo beside the .po."""
    (root / CATALOGUE).with_suffix(".mo").write_bytes(_compiled(load(root)))


def update(root: Path) -> int:
    """Bring the .po up to the sources; return how many strings are empty.

    New strings come in empty, unused ones go. Files are named without line numbers and no dates
    are written, so that a change shows only what changed.
    """
    wanted, have = extract(root), load(root)
    result = _dateless(
        Catalog(
            locale="zh_Hans",
            charset="utf-8",
            project="devops-manager",
            version="1",
            copyright_holder="the DevOps Manager contributors",
            header_comment="\n".join(f"# {line}" for line in _HEADER.splitlines()),
            fuzzy=False,
        )
    )
    missing = 0
    for message in wanted:
        if not message.id:
            continue
        found = have.get(message.id, message.context)
        string = found.string if found is not None else None
        missing += not string or not all(_texts(string))
        names = sorted({name for name, _line in message.locations})
        result.add(
            message.id,
            string,
            locations=[(name, None) for name in names],  # type: ignore[misc]
            auto_comments=message.auto_comments,
            flags=message.flags - {"fuzzy"},
            context=message.context,
        )
    path = root / CATALOGUE
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    write_po(stream, result, width=99, include_lineno=False, sort_output=True)
    text = re.sub(_VOLATILE, "", stream.getvalue().decode("utf-8"))
    path.write_text(text, encoding="utf-8")
    return missing


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Do what the command line asks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devops_manager.messages", description=__doc__)
    parser.add_argument("act", choices=("check", "update", "compile"))
    act = parser.parse_args(arguments).act
    if act == "update":
        missing = update(root)
        compile_catalogue(root)
        sys.stdout.write(f"{missing} strings wait for a translation in {CATALOGUE}\n")
    elif act == "compile":
        compile_catalogue(root)
    else:
        found = problems(root)
        sys.stdout.write("".join(f"{line}\n" for line in found))
        return 1 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
