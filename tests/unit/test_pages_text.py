"""Small shapes of the pages: output made inert, lines and lists, lengths of time, bars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_manager.lib.one_line import is_one_line, visible_text
from devops_manager.pages import looks
from devops_manager.pages.forms import lines
from devops_manager.pages.terminal_text import inert_text
from tasks_app.selectors.shapes import HostCounts
from tasks_app.states import RowStatus


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b]0;never ended", "␛]0;never ended"),
        ("before\n\x1b]0;build\nFAILED: disk full\n", "before\n␛]0;build\nFAILED: disk full\n"),
        ("\x1b]0;build\x07done", "done"),
        ("\x1bP1$r\nFAILED\x1b\\", "␛P1$r\nFAILED"),
        ("\x1b[3\n1mFAILED", "␛[3\n1mFAILED"),
        ("\x1b[31", "␛[31"),
        ("\x1b(B\x1b=\x1bFAILED", "␛FAILED"),
        ("\x9dno end\nnext", "⟦U+009D⟧no end\nnext"),
        ("10%\r", "10%"),
        ("zero\u200bwidth \ufeff \u00ad", "zero⟦U+200B⟧width ⟦U+FEFF⟧ ⟦U+00AD⟧"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("bell\x07 nul\x00 del\x7f", "bell␇ nul␀ del␡"),
        ("a\u202eb\u2066c", "a⟦U+202E⟧b⟦U+2066⟧c"),
        ("\x9b31mc1", "c1"),
        ("中文", "中文"),
    ],
)
def test_output_is_made_inert(raw: str, shown: str) -> None:
    assert inert_text(raw) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("rm -rf /\recho hi", "rm -rf /␍echo hi"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\u202eb\u2028c\u3164d\u2800e\ufe0f", "a⟦U+202E⟧b⟦U+2028⟧c⟦U+3164⟧d⟦U+2800⟧e⟦U+FE0F⟧"),
        ("\U000e0041\x85\x7f\x00", "⟦U+E0041⟧⟦U+0085⟧␡␀"),
        ("中文 é 🙂", "中文 é 🙂"),
    ],
)
def test_what_people_wrote_is_made_visible_and_nothing_is_left_out(raw: str, shown: str) -> None:
    assert visible_text(raw) == shown


def test_output_may_draw() -> None:
    assert inert_text("✔\ufe0f \u2800⣀") == "✔\ufe0f \u2800⣀"


@given(st.text())
def test_a_name_is_taken_exactly_when_it_shows_as_it_is(text: str) -> None:
    line = text.replace("\t", "").replace("\n", "")
    assert is_one_line(line) == (visible_text(line) == line)
    assert is_one_line(visible_text(line))


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    shown = inert_text(text)
    assert not {c for c in shown if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_lists_come_back_from_their_lines(values: list[str]) -> None:
    assert lines.from_lines(lines.to_lines(values)) == values


@given(st.dictionaries(st.from_regex(r"[A-Za-z_]\w{0,9}", fullmatch=True), st.text()))
def test_assignments_come_back_from_their_lines(values: dict[str, str]) -> None:
    assert lines.from_assignments(lines.to_assignments(values)) == (values, [])


def test_lines_are_taken_as_they_are() -> None:
    assert lines.from_lines(' a \n\t"b\\r\\n" \n \n"c" d\r') == [" a ", "b\r\n", '"c" d\r']
    assert lines.from_assignments('  A= b \nC= "d " ') == ({"A": " b ", "C": "d "}, [])


def test_what_is_no_assignment_is_named() -> None:
    assert lines.from_assignments("A=1\nnonsense\n=x\nA=2\n\nB=") == (
        {"A": "1", "B": ""},
        ["nonsense", "=x", "A=2"],
    )


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, ""), (0, "0 ms"), (350, "350 ms"), (12_400, "12.4 s"), (185_000, "3 min 05 s"),
        (7_800_000, "2 h 10 min"), (200_000_000, "2 days 7 h"),
    ],
)  # fmt: skip
def test_lengths_of_time(milliseconds: float | None, words: str) -> None:
    assert looks.span_words(milliseconds) == words


def test_a_bar_is_full_only_when_all_has_ended() -> None:
    bar = looks.task_bar(HostCounts(1000, 990, 5, 2, 1, 1))
    assert (bar.ended, bar.percent, bar.open) == (999, 99, 1)
    assert [part.count for part in bar.parts] == [990, 5, 2, 1, 1]
    assert bar.parts[1].start == pytest.approx(99.0)
    assert looks.task_bar(HostCounts(0, 0, 0, 0, 0, 0)).percent == 0


def test_every_state_has_a_look_and_a_word() -> None:
    for kind, choices in looks.KINDS.items():
        for state in choices:
            assert looks.badge(kind, state.value).label
    rows = dict.fromkeys(RowStatus.values, 1)
    assert looks.rows_bar(rows).ended == 8
    assert len(looks.row_counts(rows)) == 12
