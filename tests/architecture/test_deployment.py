"""The container files: what must be there is, and nothing has a password in the clear."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent.parent
LONG_RUNNING = {"postgres", "redis", "web", "gateway", "worker", "beat", "agent"}
SECRETS = re.compile(r"PASSWORD|SECRET|AUTH$|_URL$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return loaded


def test_the_services_are_those_of_the_design(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == LONG_RUNNING | {"migrate"}


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_every_service_that_stays_has_a_health_check(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"


def test_the_ports_are_those_of_the_design(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    assert published == {"web": ["8080:8080"], "gateway": ["50051:50051"]}


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


def test_the_image_and_the_unit_serve_collected_static_files() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    build, final = text.split("\nFROM python:3.11-slim\n")
    assert "DM_STATIC_ROOT=/app/staticfiles" in build
    assert "manage.py collectstatic" in build
    assert "DM_STATIC_ROOT=/app/staticfiles" in final
    unit = (PROJECT / "deploy/systemd/devops-manager-web.service").read_text()
    assert "Environment=DM_STATIC_ROOT=" in unit
