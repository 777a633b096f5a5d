"""What is kept of output, how it is encoded, and what viewers get while a command runs."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from agents_app.agent.live import MOST_GAPS, LiveFeed
from agents_app.agent.messages import Configuration
from agents_app.agent.output import Capture, combined_digest, encode_parts, whole_characters
from agents_app.agent.records import Outcome, build_record, reduce_record
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command


def decoded(record: dict[str, Any]) -> tuple[bytes, bytes]:
    parts = (record["head"], record["tail"])
    if record["encoding"] == "base64":
        return base64.b64decode(parts[0]), base64.b64decode(parts[1])
    return parts[0].encode(), parts[1].encode()


@pytest.mark.parametrize("seed", range(20))
def test_head_and_tail_are_exact_whatever_the_pieces(seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(rng.randrange(400))
    cap = rng.randrange(2, 150)
    capture = Capture(cap)
    position = 0
    while position < len(data):
        step = rng.randrange(1, 60)
        capture.feed(data[position : position + step])
        position += step

    record: Any = capture.as_record()
    head, tail = decoded(record)
    assert len(head) + len(tail) <= cap
    assert data.startswith(head)
    assert data.endswith(tail)
    assert record["total_bytes"] == len(data)
    assert record["dropped_bytes"] == len(data) - len(head) - len(tail)
    assert (record["dropped_bytes"] > 0) == (len(data) > cap)
    assert capture.digest() == hashlib.sha256(data).digest()


def test_reads_what_is_at_hand_and_nothing_else() -> None:
    capture = Capture(8)
    capture.feed(b"0123456789abcdef")
    assert capture.read(1, 2) == b"12"
    assert capture.read(2, 99) == b"23"
    assert capture.read(6, 2) is None
    assert capture.read(12, 99) == b"cdef"
    assert capture.read(16, 99) == b""
    assert capture.read(17, 99) is None
    assert capture.read(-1, 99) is None


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"", "utf-8"),
        ("磁盘已满\n".encode(), "utf-8"),
        (b"nul \0 in text", "utf-8"),
        (b"\0" * 100, "base64"),
        (b"\xff\xfe", "base64"),
        ("盘".encode()[:2], "base64"),
        (b"\xed\xa0\x80", "base64"),
        (b"\n\n\n\n", "utf-8"),
    ],
)
def test_encoding_alters_nothing(data: bytes, encoding: str) -> None:
    found, (text,) = encode_parts(data)
    assert found == encoding
    sent = json.loads(json.dumps(text, ensure_ascii=False).encode())
    assert (base64.b64decode(sent) if encoding == "base64" else sent.encode()) == data


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        ("a盘".encode(), "a盘".encode()),
        ("a盘".encode()[:-1], b"a"),
        ("a盘".encode()[:-2], b"a"),
        ("a😀".encode()[:-1], b"a"),
        ("aé".encode()[:-1], b"a"),
        (b"ascii", b"ascii"),
        (b"\xe7", b"\xe7"),
        (b"", b""),
        (b"\x80\x80\x80\x80\x80", b"\x80\x80\x80\x80\x80"),
    ],
)
def test_a_chunk_ends_with_a_whole_character(data: bytes, whole: bytes) -> None:
    assert whole_characters(data) == whole


def test_digest_is_over_both_digests() -> None:
    out, err = hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()
    assert combined_digest(out, err) == hashlib.sha256(out + err).hexdigest()


def test_a_reduced_record_keeps_everything_but_text() -> None:
    capture = Capture(64)
    capture.feed(b"text")
    outcome = Outcome("failed", exit_code=3, error_message="broken \ud800", finished_at=2.5)
    full = json.loads(build_record("f", outcome, capture, Capture(2)))
    reduced = json.loads(reduce_record(build_record("f", outcome, capture, Capture(2))))
    assert full["error_message"] == "broken ?"
    assert reduced["error_message"] == reduced["stdout"]["head"] == ""
    assert reduced["stdout"]["dropped_bytes"] == 4
    same = ("fence", "status", "exit_code", "finished_at", "output_digest")
    assert [full[name] for name in same] == [reduced[name] for name in same]


def feed_of(capture: Capture, chunk_bytes: int = 4) -> LiveFeed:
    feed = LiveFeed()
    feed.configuration = Configuration(live_interval_seconds=0.05, live_chunk_bytes=chunk_bytes)
    feed.add("f", {"stdout": capture})
    return feed


def collect(feed: LiveFeed) -> Any:
    return feed.collect(limit=100, limit_bytes=10**6)


def test_chunks_follow_each_other_and_repeat_until_answered() -> None:
    capture = Capture(100)
    capture.feed(b"0123456")
    feed = feed_of(capture)
    (chunk,) = collect(feed)
    (again,) = collect(feed)
    assert chunk.message == again.message
    assert (chunk.message["offset"], chunk.message["data"]) == (0, "0123")
    feed.settle(chunk, "accepted", 4)
    (chunk,) = collect(feed)
    assert (chunk.message["offset"], chunk.message["data"]) == (4, "456")
    feed.settle(chunk, "accepted", None)
    assert collect(feed) == []
    assert feed.seconds_until_due() is None


def test_a_gap_goes_back_and_a_conflict_stops() -> None:
    capture = Capture(100)
    capture.feed(b"01234567")
    feed = feed_of(capture)
    (chunk,) = collect(feed)
    feed.settle(chunk, "accepted", 4)
    (chunk,) = collect(feed)
    feed.settle(chunk, "gap", 2)
    (chunk,) = collect(feed)
    assert (chunk.message["offset"], chunk.message["data"]) == (2, "2345")
    feed.settle(chunk, "conflict", 2)
    assert collect(feed) == []


def test_a_gap_that_never_closes_stops_the_stream() -> None:
    capture = Capture(100)
    capture.feed(b"01234567")
    feed = feed_of(capture)
    for _ in range(MOST_GAPS):
        (chunk,) = collect(feed)
        feed.settle(chunk, "gap", 0)
    assert collect(feed) == []


def test_what_was_printed_too_fast_is_not_shown_and_costs_no_memory() -> None:
    capture = Capture(8)
    capture.feed(b"0123")
    feed = feed_of(capture)
    (chunk,) = collect(feed)
    feed.settle(chunk, "accepted", 4)
    capture.feed(b"x" * 100)
    assert collect(feed) == []
    assert feed.seconds_until_due() is None


def test_viewers_see_output_while_the_command_runs(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Any
) -> None:
    agent.start()
    sent = command(f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; printf two")
    gateway.deliver(sent)
    gateway.wait_for(lambda: gateway.chunks, "live output")
    assert gateway.chunks[0] == {
        "fence": sent["fence"],
        "stream": "stdout",
        "offset": 0,
        "encoding": "utf-8",
        "data": "one\n",
    }
    (tmp_path / "go").touch()
    assert gateway.result(sent)["stdout"]["head"] == "one\ntwo"


def test_a_quick_command_sends_its_result_alone(gateway: FakeGateway, agent: AgentProcess) -> None:
    gateway.config = {"live_interval_seconds": 5.0, "live_chunk_bytes": 1024}
    agent.start()
    gateway.next_poll()
    sent = command("echo quick")
    gateway.deliver(sent)
    gateway.result(sent)
    assert [len(report["output"]) for report in gateway.reports] == [0]


def test_200_mb_of_output_leave_the_agent_small(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start()
    printed = 200_000_000
    sent = command(f"head -c {printed} /dev/zero", output_cap_bytes=262_144)
    gateway.deliver(sent)
    stdout = gateway.result(sent)["stdout"]
    assert (stdout["total_bytes"], stdout["dropped_bytes"]) == (printed, printed - 262_144)
    status = Path(f"/proc/{agent.pid}/status").read_text()
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+)", status)
    assert int(peak_kib) < 100 * 1024


def test_bytes_arrive_as_they_were_printed(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start()
    sent = command(r"printf 'nul \000 and \377 bytes'; printf '\344\275\240' >&2")
    gateway.deliver(sent)
    result = gateway.result(sent)
    assert decoded(result["stdout"])[0] == b"nul \0 and \xff bytes"
    assert result["stderr"]["head"] == "你"
    digests = [hashlib.sha256(d).digest() for d in (b"nul \0 and \xff bytes", "你".encode())]
    assert result["output_digest"] == hashlib.sha256(b"".join(digests)).hexdigest()
