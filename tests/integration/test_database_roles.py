"""Two roles: migrations own the tables, and the processes cannot touch what the trail says."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.core.management import call_command
from psycopg import errors

from devops_manager.embedded.places import VAR
from devops_manager.embedded.servers import embedded_servers

PROJECT = Path(__file__).resolve().parent.parent.parent
SCRIPT = PROJECT / "deploy" / "database-roles.sh"

pytestmark = pytest.mark.timeout(180)


@dataclass
class World:
    """A PostgreSQL of its own; ``admin`` is its superuser's URL."""

    admin: str

    def url(self, role: str, password: str, database: str) -> str:
        parts = urlsplit(self.admin)
        place = f"{role}:{password}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=place, path=f"/{database}"))

    def execute(self, statement: str, database: str = "postgres") -> None:
        parts = urlsplit(self.admin)
        url = urlunsplit(parts._replace(path=f"/{database}"))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name != "DATABASE_OWNER_URL"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**given, "DM_TLS": "1", **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def set_up(world: World, *arguments: str) -> str:
    """Run the script as PostgreSQL's administrator would; return what it printed."""
    parts = urlsplit(world.admin)
    connection = {
        "PGHOST": str(parts.hostname),
        "PGPORT": str(parts.port),
        "PGUSER": str(parts.username),
        "PGPASSWORD": str(parts.password),
    }
    ran = subprocess.run(
        ["sh", str(SCRIPT), *arguments],
        env={"PATH": os.environ["PATH"], **connection},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def urls(world: World, printed: str) -> dict[str, str]:
    """Return the two lines of the script as settings, with this server's address."""
    found = dict(re.findall(r"^(DATABASE_\w+)=(\S+)$", printed, re.MULTILINE))
    port = urlsplit(world.admin).port
    return {name: url.replace(":5432/", f":{port}/") for name, url in found.items()}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with embedded_servers(VAR) as servers:
        yield World(servers.database_url)


@pytest.fixture(scope="module")
def separate(world: World) -> dict[str, str]:
    """A new installation by deploy/database-roles.sh, migrated."""
    given = urls(world, set_up(world, "manager", "devops_manager_owner", "manager"))
    assert set(given) == {"DATABASE_URL", "DATABASE_OWNER_URL"}
    made = manage("migrate", **given)
    assert made.returncode == 0, made.stderr
    assert "can change the audit trail" not in made.stderr
    return given


@pytest.fixture
def processes(separate: dict[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(separate["DATABASE_URL"], autocommit=True) as connection:
        yield connection


FORBIDDEN = [
    "UPDATE audit_events SET action = 'another'",
    "UPDATE audit_events SET action = 'another' WHERE false",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    "TRUNCATE audit_events CASCADE",
    "DROP TABLE audit_events",
    "ALTER TABLE audit_events RENAME TO old_events",
    "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only",
    "ALTER TABLE audit_events OWNER TO CURRENT_USER",
    "DROP TRIGGER audit_events_append_only ON audit_events",
    "DROP FUNCTION audit_events_refuse_change() CASCADE",
    """CREATE OR REPLACE FUNCTION audit_events_refuse_change() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RETURN NEW; END $$""",
    """CREATE TRIGGER mine BEFORE INSERT ON audit_events FOR EACH ROW
    EXECUTE FUNCTION audit_events_refuse_change()""",
    "CREATE RULE nothing AS ON INSERT TO audit_events DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "SET ROLE devops_manager_owner",
    "CREATE TABLE mine (id int)",
    "CREATE ROLE mine",
    "DROP SCHEMA public CASCADE",
    "DELETE FROM django_migrations",
    "TRUNCATE tasks CASCADE",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_processes_role_cannot_touch_the_trail(
    processes: psycopg.Connection, statement: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        processes.execute(statement.encode())


def test_the_processes_role_can_do_its_work(separate: dict[str, str]) -> None:
    for arguments in (
        ("first_admin", "admin"),
        ("new_enrollment_token", "roles"),
        ("sweep",),
        ("clearsessions",),
        ("migrate", "--check"),
    ):
        ran = manage(
            *arguments, DATABASE_URL=separate["DATABASE_URL"], DM_ADMIN_PASSWORD="a-long-password"
        )
        assert ran.returncode == 0, (arguments, ran.stderr)
    with psycopg.connect(separate["DATABASE_URL"], autocommit=True) as connection:
        made = connection.execute("SELECT make_output_partition(current_date + 9)").fetchone()
        assert made == (True,), "the sweep's days are made by who owns none of them"
        again = connection.execute("SELECT make_output_partition(current_date + 9)").fetchone()
        assert again == (False,)
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'command_outputs%'"
        ).fetchall()
        assert owners == [("devops_manager_owner",)]
        (events,) = connection.execute("SELECT count(*) FROM audit_events").fetchone() or (0,)
        assert events > 0
        with pytest.raises(errors.CheckViolation):
            connection.execute("SELECT make_output_partition('9999-12-31')")


def test_what_a_caller_made_is_not_taken_for_the_outputs(processes: psycopg.Connection) -> None:
    processes.execute("CREATE TEMP TABLE command_outputs_default (created_at timestamptz)")
    processes.execute(
        "INSERT INTO command_outputs_default SELECT current_date + 20.5 * '1 d'::interval"
    )
    made = processes.execute("SELECT make_output_partition(current_date + 20)").fetchone()
    assert made == (True,)


def test_check_is_content_with_two_roles_and_warns_of_one(
    world: World, separate: dict[str, str]
) -> None:
    right = manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        DATABASE_URL=separate["DATABASE_URL"],
        DM_TRUSTED_PROXIES="127.0.0.1",
    )
    assert right.returncode == 0, right.stderr
    wrong = manage("check", "--deploy", DATABASE_URL=separate["DATABASE_OWNER_URL"])
    assert "devops_manager.W001" in wrong.stderr
    assert "owns the audit trail" in wrong.stderr
    superuser = urlsplit(world.admin)._replace(path=urlsplit(separate["DATABASE_URL"]).path)
    assert "is a superuser" in manage("check", "--deploy", DATABASE_URL=superuser.geturl()).stderr


@pytest.mark.parametrize(
    ("given", "taken", "said"),
    [
        (
            "GRANT UPDATE (action) ON audit_events TO {}",
            "REVOKE UPDATE (action) ON audit_events FROM {}",
            "UPDATE, DELETE or TRUNCATE",
        ),
        (
            "GRANT TRUNCATE ON audit_events TO PUBLIC",
            "REVOKE TRUNCATE ON audit_events FROM PUBLIC",
            "UPDATE, DELETE or TRUNCATE",
        ),
        (
            "GRANT pg_write_all_data TO {}",
            "REVOKE pg_write_all_data FROM {}",
            "UPDATE, DELETE or TRUNCATE",
        ),
        (
            "GRANT devops_manager_owner TO {}",
            "REVOKE devops_manager_owner FROM {}",
            "member of who does",
        ),
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE", "may make roles"),
    ],
)
def test_check_sees_every_way_to_the_trail(
    world: World, separate: dict[str, str], given: str, taken: str, said: str
) -> None:
    parts = urlsplit(separate["DATABASE_URL"])
    database = parts.path.strip("/")
    world.execute(given.format(parts.username), database)
    try:
        shown = manage("check", "--deploy", DATABASE_URL=separate["DATABASE_URL"]).stderr
    finally:
        world.execute(taken.format(parts.username), database)
    assert said in shown


def test_a_migration_takes_back_what_was_given_too_much(
    world: World, separate: dict[str, str]
) -> None:
    parts = urlsplit(separate["DATABASE_URL"])
    world.execute(f"GRANT ALL ON audit_events TO {parts.username}", parts.path.strip("/"))
    assert manage("migrate", **separate).returncode == 0
    with (
        psycopg.connect(separate["DATABASE_URL"]) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM audit_events")


def test_migrations_without_their_owner_say_which_setting_is_missing(
    world: World, separate: dict[str, str]
) -> None:
    ran = manage("migrate", "tasks_app", "0007", DATABASE_URL=separate["DATABASE_URL"])
    assert ran.returncode == 1
    assert "DATABASE_OWNER_URL" in ran.stderr
    assert "Traceback" not in ran.stderr
    ran = manage("migrate", **{**separate, "DATABASE_URL": separate["DATABASE_OWNER_URL"]})
    assert ran.returncode == 1
    assert "must name two roles" in ran.stderr


def test_an_installation_with_one_role_goes_on_and_becomes_one_with_two(world: World) -> None:
    password = secrets.token_hex(8)
    world.execute(f"CREATE ROLE old_style LOGIN PASSWORD '{password}'")
    world.execute("CREATE DATABASE old_style OWNER old_style")
    own = {"DATABASE_URL": world.url("old_style", password, "old_style")}
    made = manage("migrate", **own)
    assert made.returncode == 0, made.stderr
    assert "can change the audit trail: it owns" in made.stderr
    assert manage("sweep", **own).returncode == 0

    printed = set_up(world, "old_style", "old_style_owner", "old_style")
    owner = urls(world, printed)
    assert set(owner) == {"DATABASE_OWNER_URL"}, "its password stays, and is not known"
    both = own | owner
    upgraded = manage("migrate", **both)
    assert upgraded.returncode == 0, upgraded.stderr
    assert "can change the audit trail" not in upgraded.stderr
    for command in ("sweep", "check"):
        assert manage(command, **own).returncode == 0
    with (
        psycopg.connect(own["DATABASE_URL"]) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("TRUNCATE audit_events")
    # A second time changes nothing, and shows no password.
    assert urls(world, set_up(world, "old_style", "old_style_owner", "old_style")) == {}
    assert manage("migrate", **both).returncode == 0


def test_an_owner_that_may_make_roles_makes_the_other_one(world: World) -> None:
    """As in docker-compose.yml, whose owner is the superuser that PostgreSQL began with."""
    world.execute("CREATE DATABASE composed")
    owner = urlunsplit(urlsplit(world.admin)._replace(path="/composed"))
    for password in ("first-p@ss/word", "second"):
        given = {
            "DATABASE_URL": world.url(
                "composed_run", password.replace("@", "%40").replace("/", "%2F"), "composed"
            ),
            "DATABASE_OWNER_URL": owner,
        }
        made = manage("migrate", **given)
        assert made.returncode == 0, made.stderr
        assert manage("sweep", DATABASE_URL=given["DATABASE_URL"]).returncode == 0


@pytest.mark.django_db
def test_one_role_is_warned_of_where_somebody_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("migrate", verbosity=1)
    assert "can change the audit trail: it is a superuser" in capsys.readouterr().err
    call_command("migrate", verbosity=0)
    assert capsys.readouterr().err == ""
