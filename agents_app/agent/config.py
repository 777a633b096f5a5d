"""The agent's settings: a small file, overridden by ``DM_AGENT_*`` in the environment.

The file is a subset of TOML (``key = value`` lines and comments), read by the parser below on every
Python version, so that a file which works on one host works on all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agents_app.agent.address import parse_server
from agents_app.agent.proxy import NO_PROXY_AT_ALL, parse_proxy, proxy_from_environment

DEFAULT_CONFIG_PATH = "/etc/devops-agent/agent.toml"
ENVIRONMENT_PREFIX = "DM_AGENT_"
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")

_LINE = re.compile(r"^([A-Za-z0-9_]+)\s*=\s*(.+)$")
_STRING = re.compile(r'^("(?:[^"\\]|\\.)*"|\'[^\']*\')\s*(?:#.*)?$')
_ESCAPED = re.compile(r"\\(.)")
_NUMBER = re.compile(r"^[+-]?[0-9][0-9_]*(\.[0-9_]+)?$")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """A setting is missing or wrong. The text is one line for the person who starts the agent."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that can be set. Field names are the keys of the file; see docs/agent.md."""

    server: str = ""
    state_dir: str = "/var/lib/devops-agent"
    enrollment_token: str = dataclasses.field(default="", repr=False)
    enrollment_token_file: str = ""
    ca_file: str = ""
    proxy: str = dataclasses.field(default="", repr=False)
    allow_http: bool = False
    hostname: str = ""
    machine_id: str = ""
    max_concurrency: int = 0
    max_output_bytes: int = 1024 * 1024
    poll_wait_seconds: float = 25.0
    request_timeout_seconds: float = 30.0
    retry_first_seconds: float = 1.0
    retry_longest_seconds: float = 30.0
    stop_grace_seconds: float = 2.0
    log_level: str = "info"

    @property
    def state_path(self) -> Path:
        """Where the journal, the credential and the private script files are."""
        return Path(self.state_dir)


_BOUNDS: dict[str, tuple[float, float]] = {
    "max_concurrency": (0, 1000),
    "max_output_bytes": (1024, 1536 * 1024),
    "poll_wait_seconds": (0, 300),
    "request_timeout_seconds": (1, 600),
    "retry_first_seconds": (0.01, 600),
    "retry_longest_seconds": (0.01, 3600),
    "stop_grace_seconds": (0, 60),
}


def load_settings(config_path: str | None, environ: Mapping[str, str]) -> Settings:
    """Read the file (the default one may be missing), then the environment, and check it all.

    Raises ConfigError with one line that names the setting.
    """
    chosen = config_path or environ.get(ENVIRONMENT_PREFIX + "CONFIG", "")
    path = Path(chosen or DEFAULT_CONFIG_PATH)
    values: dict[str, str | bool | int | float] = {}
    if chosen or path.exists():
        values.update(read_file(path))
    for field in dataclasses.fields(Settings):
        raw = environ.get(ENVIRONMENT_PREFIX + field.name.upper())
        if raw is not None:
            values[field.name] = raw
    converted: dict[str, Any] = {name: _convert(name, value) for name, value in values.items()}
    settings = Settings(**converted)
    _check(settings)
    return _with_proxy(settings, environ)


def _with_proxy(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Fill in the proxy: the setting's, else the environment's for this server, else none."""
    url, name = settings.proxy, "proxy"
    if not url:
        url, name = proxy_from_environment(environ, parse_server(settings.server))
    if url and url != NO_PROXY_AT_ALL:
        try:
            parse_proxy(url)
        except ValueError as error:
            raise ConfigError(f"{name} {error}") from None
    return dataclasses.replace(settings, proxy=url or NO_PROXY_AT_ALL)


def read_file(path: Path) -> dict[str, str | bool | int | float]:
    """The keys and values of a settings file. Raises ConfigError that names file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from error
    known = {field.name for field in dataclasses.fields(Settings)}
    values: dict[str, str | bool | int | float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        where = f"{path}, line {number}"
        match = _LINE.match(stripped)
        if match is None:
            raise ConfigError(f"{where}: expected key = value")
        key = match.group(1)
        if key not in known:
            raise ConfigError(f"{where}: unknown setting {key}")
        if key in values:
            raise ConfigError(f"{where}: {key} is set twice")
        values[key] = _parse_value(match.group(2).strip(), where)
    return values


def _parse_value(text: str, where: str) -> str | bool | int | float:
    string = _STRING.match(text)
    if string is not None:
        quoted = string.group(1)
        if quoted.startswith("'"):
            return quoted[1:-1]
        return _ESCAPED.sub(lambda m: _ESCAPES.get(m.group(1), m.group(0)), quoted[1:-1])
    bare = text.split("#", 1)[0].strip()
    if bare in ("true", "false"):
        return bare == "true"
    number = _NUMBER.match(bare)
    if number is not None:
        digits = bare.replace("_", "")
        return float(digits) if number.group(1) else int(digits)
    raise ConfigError(f"{where}: a value is a quoted string, a number, true or false")


def _convert(name: str, value: str | bool | int | float) -> str | bool | int | float:
    """Bring a value from the file or the environment to its setting's type."""
    default = getattr(Settings, name)
    if isinstance(default, bool):
        return _to_bool(name, value)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigError(f"{name} must be a quoted string")
        return value.strip()
    if isinstance(value, bool):
        raise ConfigError(f"{name} must be a number")
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(f"{name} must be a number") from error
    low, high = _BOUNDS[name]
    if not low <= number <= high:
        raise ConfigError(f"{name} must be between {low:g} and {high:g}")
    if isinstance(default, float):
        return number
    if number != int(number):
        raise ConfigError(f"{name} must be a whole number")
    return int(number)


def _to_bool(name: str, value: str | bool | int | float) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigError(f"{name} must be true or false")


def _check(settings: Settings) -> None:
    if not settings.server:
        raise ConfigError("server is not set: give the gateway's URL, such as https://ops:50051")
    try:
        url = urlsplit(settings.server)
        _ = url.port
        if url.scheme in ("http", "https"):
            parse_server(settings.server)
    except ValueError as error:
        raise ConfigError(f"server is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError("server must begin with https:// or http:// and name a host")
    if url.username or url.password or url.query or url.fragment:
        raise ConfigError("server must be only scheme, host, port and path")
    if url.scheme == "http" and not settings.allow_http and url.hostname not in LOOPBACK_HOSTS:
        raise ConfigError(
            "server is plain http: use https, or set allow_http = true for a network you trust"
        )
    if settings.ca_file and not Path(settings.ca_file).is_file():
        raise ConfigError(f"ca_file {settings.ca_file} is not a file")
    if settings.log_level not in _LEVELS:
        raise ConfigError(f"log_level must be one of {', '.join(_LEVELS)}")
    if not settings.state_path.is_absolute():
        raise ConfigError("state_dir must be an absolute path")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8 text"
