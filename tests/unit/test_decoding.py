"""Output in the encodings that hosts print, whole and cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_manager.lib.decoding import CHARSETS, charset_named, decode, rest_of_character

TEXTS = {
    "utf-8": "你好，世界 🙂\n第二行\n",
    "gb18030": "你好，世界。中文输出测试\n第二行你好 𠀀\n",
    "big5": "你好世界，中文輸出\n第二行\n",
    "shift_jis": "こんにちは、世界\n二行目です\n",
    "euc-jp": "こんにちは、世界\n二行目です\n",
    "euc-kr": "안녕하세요 세계\n둘째 줄\n",
    "latin-1": "déjà vu\n",
    "windows-1252": "“déjà vu”\n",
    "windows-1251": "привет\n",
    "koi8-r": "привет\n",
}


@pytest.mark.parametrize(("charset", "text"), TEXTS.items())
def test_a_whole_text_is_read_exactly(charset: str, text: str) -> None:
    assert decode(text.encode(CHARSETS[charset]), charset) == (text, True, 0)


@pytest.mark.parametrize(("charset", "text"), TEXTS.items())
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_stream_cut_within_a_character_still_reads(charset: str, text: str, cut: int) -> None:
    data = text.encode(CHARSETS[charset])
    head = decode(data[:-cut], charset, cut_end=True)
    assert text.startswith(head.text)
    assert head.exact
    assert len(head.text) >= len(text) - cut - 1
    tail = decode(data[cut:], charset, cut_start=True)
    # What the cut left of a character may be read as another one, at most one; the rest is right.
    assert tail.text.endswith(text[cut + 1 :])
    assert len(tail.text) <= len(text)
    assert tail.left_bytes <= 3


def test_the_double_bytes_of_a_first_trial() -> None:
    assert decode(b"\xc4\xe3\xba\xc3\n", "gb18030").text == "你好\n"
    unread = decode(b"\xc4\xe3\xba\xc3\n", "utf-8")
    assert not unread.exact
    assert unread.text.endswith("\n")


@pytest.mark.parametrize("cut", range(1, 12))
@pytest.mark.parametrize(("charset", "text"), TEXTS.items())
def test_what_lies_before_a_cut_tells_where_characters_begin(
    charset: str, text: str, cut: int
) -> None:
    data = text.encode(CHARSETS[charset])
    for before, is_all in ((data[:cut], True), (b"\x84\n" + data[:cut], False)):
        rest = rest_of_character(before, data[cut:], charset, is_all=is_all)
        tail = decode(data[cut + rest :], charset)
        assert tail.exact
        assert text.endswith(tail.text)
        assert rest <= 3


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("UTF-8", "utf-8"), ("utf8", "utf-8"), ("GBK", "gb18030"), ("gb2312", "gb18030"),
        ("GB18030", "gb18030"), ("Shift_JIS", "shift_jis"), ("shift-jis", "shift_jis"),
        ("SJIS", "shift_jis"), ("Latin-1", "latin-1"), ("ISO-8859-1", "latin-1"),
        ("Big5", "big5"), ("EUC_KR", "euc-kr"), ("koi8_r", "koi8-r"), (" utf-8 ", "utf-8"),
        ("rot13", None), ("zlib", None), ("", None), ("utf-7", None),
    ],
)  # fmt: skip
def test_names_of_charsets(name: str, charset: str | None) -> None:
    assert charset_named(name) == charset


@given(st.binary(max_size=2000), st.sampled_from(sorted(CHARSETS)), st.booleans(), st.booleans())
def test_anything_can_be_read(data: bytes, charset: str, start: bool, end: bool) -> None:
    decoded = decode(data, charset, cut_start=start, cut_end=end)
    assert 0 <= decoded.left_bytes <= min(7, len(data))
    decoded.text.encode("utf-8", "surrogatepass")
