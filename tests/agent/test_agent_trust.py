"""Private authorities: the same on every Python, and read again when their file was replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agents_app.agent.config import Settings
from agents_app.agent.transport import Channel, TransportError
from agents_app.agent_build import build_agent
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import HOST_ID, TOKEN, FakeGateway, command
from tests.agent.pythons import new_enough

TLS = Path(__file__).parent / "tls"


@pytest.mark.parametrize("python", new_enough())
@pytest.mark.parametrize(
    ("authority", "enrolls"), [("plain-ca.pem", True), ("leaf", True), ("ca.pem", False)]
)
def test_an_authority_without_key_identifiers_is_good_on_every_python(
    make_agent: Callable[[], AgentProcess],
    tmp_path: Path,
    python: str,
    authority: str,
    enrolls: bool,
) -> None:
    """``leaf``: the server's own certificate, which is nobody's authority, as the only trusted."""
    program = tmp_path / "devops-agent.pyz"
    build_agent(program)
    ca_file = TLS / ("plain-gateway.pem" if authority == "leaf" else authority)
    with FakeGateway(TLS / "plain-gateway.pem") as gateway:
        agent = make_agent()
        agent.settings |= {
            "SERVER": gateway.url,
            "CA_FILE": str(ca_file),
            "ENROLLMENT_TOKEN": TOKEN,
        }
        ended = subprocess.run(
            [python, "-W", "error", str(program), "enroll"],
            env=agent.environment(),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if enrolls:
        assert ended.stdout == f"Enrolled as {HOST_ID}.\n", ended.stderr
    else:
        assert ended.returncode == 1
        assert "certificate is not trusted" in ended.stderr


def test_a_ca_file_that_was_replaced_is_read_without_a_restart(
    make_agent: Callable[[], AgentProcess], tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(TLS / "ca.pem", ca_file)
    agent = make_agent().enrolled()
    agent.settings["CA_FILE"] = str(ca_file)
    with FakeGateway(TLS / "gateway.pem") as gateway:
        agent.settings["SERVER"] = gateway.url
        agent.start()
        gateway.next_poll()
    with FakeGateway(TLS / "plain-gateway.pem", port=gateway.port) as other:
        replacement = tmp_path / "new.pem"
        shutil.copy(TLS / "plain-ca.pem", replacement)
        replacement.replace(ca_file)
        sent = command("echo hello")
        other.deliver(sent)
        assert other.result(sent)["status"] == "completed"
    assert "was replaced and read again" in agent.log.read_text()
    assert agent.terminate() == 0


def test_a_ca_file_that_is_no_good_leaves_the_one_before(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(TLS / "ca.pem", ca_file)
    body = f'{{"token": "{TOKEN}"}}'.encode()
    with FakeGateway(TLS / "gateway.pem") as gateway:
        channel = Channel(Settings(server=gateway.url, ca_file=str(ca_file)))
        for change in (lambda: ca_file.write_text("half"), ca_file.unlink):
            channel.post("enroll", body, timeout_seconds=5)
            channel.close()
            change()
        channel.post("enroll", body, timeout_seconds=5)
        channel.close()
        # Changed in place, within the same second and of the same size.
        ca_file.write_bytes((TLS / "plain-ca.pem").read_bytes())
        os.utime(ca_file)
        with pytest.raises(TransportError, match="not trusted"):
            channel.post("enroll", body, timeout_seconds=5)
