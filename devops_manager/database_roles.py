"""The two roles of the database: the owner of the tables, and the one that the processes have.

Migrations run as the owner (``DATABASE_OWNER_URL``); everything else as the role in
``DATABASE_URL``, which reads and writes rows and can neither change nor empty the audit trail, nor
take its safeguards away. Without an owner of its own an installation has one role for both, which
works, and which ``check --deploy`` warns of.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devops_manager.lib.postgresql.base import DatabaseWrapper

_MIGRATIONS = "django_migrations"
_LOCK_KEY = 0x646D_0003

# What the role of the processes has, in one transaction: nobody sees it half done.
_GRANTS = (
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}",
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC",
    "REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA {schema} FROM {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
    "REVOKE UPDATE, DELETE ON {trail} FROM {role}",
    "REVOKE INSERT, UPDATE, DELETE ON {migrations} FROM {role}",
)

_POWERS = """
    SELECT
        role.rolsuper,
        role.rolcreaterole,
        pg_has_role(role.oid, trail.relowner, 'MEMBER')
            OR pg_has_role(role.oid, place.nspowner, 'MEMBER')
            OR pg_has_role(role.oid, own.datdba, 'MEMBER'),
        has_any_column_privilege(role.oid, trail.oid, 'UPDATE')
            OR has_table_privilege(role.oid, trail.oid, 'DELETE')
            OR has_table_privilege(role.oid, trail.oid, 'TRUNCATE')
            OR has_table_privilege(role.oid, trail.oid, 'TRIGGER')
    FROM pg_roles AS role, pg_class AS trail
    JOIN pg_namespace AS place ON place.oid = trail.relnamespace
    CROSS JOIN pg_database AS own
    WHERE role.rolname = %s AND trail.oid = to_regclass(%s) AND own.datname = current_database()
"""


class RoleError(Exception):
    """The roles are not as two roles must be; the text says what to do."""


def trail_table() -> str:
    """Return the name of the audit trail's table."""
    return apps.get_model("access", "AuditEvent")._meta.db_table


def current_role() -> str:
    """Return the role of this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return str(cursor.fetchone()[0])


def powers_over_the_trail(role: str) -> list[str]:
    """Say in words what a role can do that lets it change or empty the trail; nothing is right.

    Before the trail exists, and for a role that does not, there is nothing to say.
    """
    with connection.cursor() as cursor:
        cursor.execute(_POWERS, [role, trail_table()])
        row = cursor.fetchone()
    superuser, maker, owner, writer = row or (False,) * 4
    if superuser:
        return [_("it is a superuser")]
    found = {
        _("it may make roles, and itself a member of the owner's"): maker,
        _("it owns the audit trail, its schema or the database, or is a member of who does"): owner,
        _("it may UPDATE, DELETE or TRUNCATE the audit trail, or put triggers on it"): writer,
    }
    return [words for words, so in found.items() if so]


@contextmanager
def as_owner() -> Iterator[tuple[str, str]]:
    """Connect as the owner inside the block; yields name and password of the processes' role.

    Raises RoleError when the two URLs do not belong together.
    """
    owner: dict[str, Any] = settings.DATABASE_OWNER or {}
    own = connection.settings_dict
    before = dict(own)
    role = str(before["USER"])
    if not role or owner.get("NAME") != before["NAME"] or owner["USER"] == role:
        raise RoleError(
            _("DATABASE_URL and DATABASE_OWNER_URL must name two roles and one database.")
        )
    connection.close()
    cast("DatabaseWrapper", connection).close_pool()
    own.update(owner)
    try:
        yield role, str(before["PASSWORD"])
    finally:
        connection.close()
        own.update(before)


@transaction.atomic
def make_role(role: str, password: str) -> None:
    """Make the processes' role where it is missing, and its password the one of ``DATABASE_URL``.

    Only for an owner that may make roles; for any other the role must be there.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        cursor.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [role])
        there = cursor.fetchone()[0]
        cursor.execute(
            "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        if not cursor.fetchone()[0]:
            if not there:
                raise RoleError(
                    _("There is no role %(role)s: deploy/database-roles.sh makes it.")
                    % {"role": role}
                )
            return
        name = sql.Identifier(role)
        if not there:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        if password:
            # Not the password itself: PostgreSQL may log the statement.
            hidden = connection.connection.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            )
            cursor.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(hidden.decode()))
            )


@transaction.atomic
def grant_rights(role: str) -> None:
    """Give the processes' role what it needs on all tables there are, and no more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        cursor.execute("SELECT current_schema(), current_database()")
        schema, database = cursor.fetchone()
        names = {
            "role": sql.Identifier(role),
            "schema": sql.Identifier(schema),
            "database": sql.Identifier(database),
            "trail": sql.Identifier(schema, trail_table()),
            "migrations": sql.Identifier(schema, _MIGRATIONS),
        }
        for statement in _GRANTS:
            cursor.execute(sql.SQL(statement).format(**names))
