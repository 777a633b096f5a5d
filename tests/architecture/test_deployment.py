"""The container files: what must be there is, and nothing has a password in the clear."""

from __future__ import annotations

import importlib
import re
import shlex
import stat
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent.parent
LONG_RUNNING = {"postgres", "redis", "web", "gateway", "worker", "beat", "nginx", "agent"}
ONCE = {"migrate", "certificate"}
SECRETS = re.compile(r"PASSWORD|SECRET|AUTH$|_URL$")


# The part of the Compose specification that the file uses: a misspelled key would be ignored.
_TEXTS = {"type": "array", "items": {"type": "string"}}
_NAMED = {"type": "object"}
_COMMAND = {"type": ["string", "array"]}
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_SERVICE = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string"},
        "build": {"type": "string"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "init": {"type": "boolean"},
        "read_only": {"type": "boolean"},
        "user": {"type": "string"},
        "tmpfs": _TEXTS,
        "cap_drop": _TEXTS,
        "cap_add": _TEXTS,
        "security_opt": _TEXTS,
        "environment": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number"]},
        },
        "command": _COMMAND,
        "ports": _TEXTS,
        "expose": _TEXTS,
        "volumes": _TEXTS,
        "ulimits": {"type": "object", "additionalProperties": {"type": "integer"}},
        "networks": _NAMED,
        "stop_signal": {"type": "string"},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["condition"],
                "additionalProperties": False,
                "properties": {"condition": {"enum": list(_CONDITIONS)}},
            },
        },
        "healthcheck": {
            "type": "object",
            "required": ["test"],
            "additionalProperties": False,
            "properties": {
                "test": {"type": "array", "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}]},
                "interval": {"type": "string"},
                "timeout": {"type": "string"},
                "retries": {"type": "integer"},
                "start_period": {"type": "string"},
            },
        },
    },
}
COMPOSE = {
    "type": "object",
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string"},
        "services": {"type": "object", "additionalProperties": _SERVICE},
        "volumes": _NAMED,
        "networks": _NAMED,
    },
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return loaded


def test_the_services_are_those_of_the_design(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == LONG_RUNNING | ONCE


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_every_service_that_stays_has_a_health_check(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"


def test_nothing_is_published_without_tls(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    # Port 80 sends people on to 443.
    assert published == {"nginx": ["${DM_HTTP_PORT:-80}:80", "${DM_HTTPS_PORT:-443}:443"]}
    assert compose["services"]["web"]["environment"]["DM_TLS"] == "${DM_TLS:-1}"


def test_the_file_is_what_compose_reads(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, COMPOSE)
    assert set(compose["volumes"]) == {
        source
        for service in compose["services"].values()
        for source in (_source(volume) for volume in service.get("volumes", ()))
        if not source.startswith(("./", "/"))
    }
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        for volume in service.get("volumes", ()):
            source = _source(volume)
            assert not source.startswith("./") or (PROJECT / source).is_file(), source


def test_only_the_front_is_believed(compose: dict[str, Any]) -> None:
    own = compose["services"]["nginx"]["networks"]["default"]["ipv4_address"]
    for name in ("web", "gateway"):
        assert compose["services"][name]["environment"]["DM_TRUSTED_PROXIES"] == own
    default = re.search(r":-(.*)}", own)
    (network,) = compose["networks"]["default"]["ipam"]["config"]
    subnet = re.search(r":-(.*)}", network["subnet"])
    assert default
    assert subnet
    assert ip_address(default[1]) in ip_network(subnet[1])


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRETS.search(name) and "PASSWORD" in str(value).upper():
                assert ":?" in str(value), f"{name} could be left unset"


def test_processes_wait_for_the_migration(compose: dict[str, Any]) -> None:
    for name in ("web", "gateway", "worker", "beat"):
        waits = compose["services"][name]["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}


def test_every_variable_that_compose_demands_is_made(compose: dict[str, Any]) -> None:
    text = (PROJECT / "docker-compose.yml").read_text()
    demanded = set(re.findall(r"\$\{(\w+):\?", text))
    made = subprocess.run(
        ["sh", "deploy/make-env.sh"], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout
    values = dict(re.findall(r"^(\w+)=(.*)$", made, re.MULTILINE))
    assert demanded <= values.keys()
    assert len(values["DM_SECRET_KEY"]) >= 64
    assert len({values[name] for name in demanded}) == len(demanded)


def make_env(directory: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line as somebody types it who has the usual umask."""
    line = f"umask 022; {command}"
    return subprocess.run(
        ["sh", "-c", line], cwd=directory, check=False, capture_output=True, text=True
    )


SCRIPT = shlex.quote(str(PROJECT / "deploy" / "make-env.sh"))


@pytest.mark.parametrize("command", [f"{SCRIPT} > .env", f"sh {SCRIPT} > .env", f"{SCRIPT} .env"])
def test_the_secrets_are_their_owners_only(tmp_path: Path, command: str) -> None:
    assert make_env(tmp_path, command).returncode == 0
    made = tmp_path / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert len(re.findall(r"^DM_\w+=.+$", made.read_text(), re.MULTILINE)) == 8


@pytest.mark.parametrize("command", [f"{SCRIPT} .env", f"{SCRIPT} >> .env"])
def test_secrets_in_use_are_not_replaced(tmp_path: Path, command: str) -> None:
    (tmp_path / ".env").write_text("DM_DB_PASSWORD=in-use\n")
    ran = make_env(tmp_path, command)
    assert ran.returncode == 1
    assert "already" in ran.stderr
    assert (tmp_path / ".env").read_text() == "DM_DB_PASSWORD=in-use\n"


def test_a_first_certificate_names_the_machine_and_is_kept(tmp_path: Path) -> None:
    names = "localhost,127.0.0.1,[::1],.example.com,manager.example.com,*"
    script = [str(PROJECT / "deploy/nginx/make-certificate.sh"), str(tmp_path), names]
    subprocess.run(script, check=True)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert re.findall(r"(?:DNS|IP Address):[^,\s]+", shown) == [
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "IP Address:0:0:0:0:0:0:0:1",
        "DNS:*.example.com",
        "DNS:manager.example.com",
    ]
    before = certificate.read_bytes()
    subprocess.run(script, check=True)
    assert certificate.read_bytes() == before


def test_the_fronts_wait_longer_than_an_agents_poll_is_held() -> None:
    site = (PROJECT / "deploy/nginx/site.conf").read_text()
    agents = site[site.index("location /agent/v1/") :]
    nginx = re.search(r"proxy_read_timeout (\d+)s", agents)
    caddy = (PROJECT / "deploy/caddy/Caddyfile").read_text()
    limits = [int(seconds) for seconds in re.findall(r"(?:write|header_timeout) (\d+)s", caddy)]
    assert nginx
    assert len(limits) == 3
    assert min(int(nginx[1]), *limits) > 25 + 10
    # and end idle connections before gunicorn's --keep-alive=75 does
    for name in ("upstreams.conf", "upstreams-compose.conf"):
        text = (PROJECT / "deploy/nginx" / name).read_text()
        assert re.findall(r"keepalive_timeout (\d+)s", text) == ["60", "60"]
    assert caddy.count("keepalive 60s") == 2
    assert caddy.count("{") == caddy.count("}")


@pytest.mark.parametrize("path", sorted((PROJECT / "deploy/systemd").glob("*.service")), ids=str)
def test_a_unit_starts_what_is_there(path: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
    words = line.split()
    program = Path(words[0])
    assert program.parent == Path("/opt/devops-manager/.venv/bin")
    assert Path(sys.executable).with_name(program.name).exists()
    if program.name == "gunicorn":
        module, _, name = words[words.index("-k") + 1].rpartition(".")
        assert hasattr(importlib.import_module(module), name)
        entry = words[-1].partition(":")[0].replace(".", "/") + ".py"
        assert (PROJECT / entry).is_file()
        assert "--keep-alive=75" in words


def test_a_gateways_marks_outlive_it_and_are_its_own(compose: dict[str, Any]) -> None:
    gateway = compose["services"]["gateway"]
    place = gateway["environment"]["DM_GATEWAY_STATE_DIR"]
    mounted = dict(volume.split(":")[:2] for volume in gateway["volumes"])
    assert place in mounted.values()
    assert set(mounted) <= set(compose["volumes"]), "a volume: a tmpfs ends with the container"
    # A new volume takes the owner from the image's directory.
    image = (PROJECT / "Dockerfile").read_text()
    (made,) = re.findall(r"install -d -o dm -g dm (.*)$", image, re.MULTILINE)
    assert place in made.split()
    assert "user" not in gateway
    unit = (PROJECT / "deploy/systemd/devops-manager-gateway.service").read_text().splitlines()
    assert "Environment=DM_GATEWAY_STATE_DIR=%S/devops-manager-gateway" in unit
    assert "StateDirectory=devops-manager-gateway" in unit


def test_only_the_migration_owns_the_tables(compose: dict[str, Any]) -> None:
    services = compose["services"]
    owner = services["postgres"]["environment"]["POSTGRES_USER"]
    for name, service in services.items():
        environment = service.get("environment", {})
        if "DATABASE_URL" in environment:
            assert f"//{owner}:" not in environment["DATABASE_URL"], name
            assert "DM_DB_PASSWORD" not in environment["DATABASE_URL"], name
        assert ("DATABASE_OWNER_URL" in environment) == (name == "migrate")
    assert f"//{owner}:" in services["migrate"]["environment"]["DATABASE_OWNER_URL"]


def _source(volume: str) -> str:
    """Return what a volume is made of: a name or a path, its default if it can be chosen."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]


def test_the_image_does_not_run_as_root_and_checks_its_health() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    final = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER dm" in final
    assert any(line.startswith("HEALTHCHECK ") for line in final)


def test_every_file_that_the_image_copies_exists() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "deploy"):
        assert (PROJECT / name).exists()
        assert name not in ignored


def test_all_dependencies_are_pinned() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    loose = [line for line in lines if line and not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)]
    assert loose == []


def test_the_agents_unit_leaves_room_for_many_commands_and_their_files() -> None:
    lines = (PROJECT / "deploy/agent/devops-agent.service").read_text().splitlines()
    assert "LimitNOFILE=65536:524288" in lines
    assert "TasksMax=infinity" in lines


def test_the_image_and_the_unit_serve_collected_static_files() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    build, final = text.split("\nFROM python:3.11-slim\n")
    assert "DM_STATIC_ROOT=/app/staticfiles" in build
    assert "manage.py collectstatic" in build
    assert "DM_STATIC_ROOT=/app/staticfiles" in final
    unit = (PROJECT / "deploy/systemd/devops-manager-web.service").read_text()
    assert "Environment=DM_STATIC_ROOT=" in unit
