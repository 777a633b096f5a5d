#!/bin/sh
# Makes the two roles and the database, for PostgreSQL's administrator:
#
#     sudo -u postgres sh deploy/database-roles.sh
#     sudo -u postgres sh deploy/database-roles.sh ROLE OWNER DATABASE
#
# The owner (devops_manager_owner) owns the tables and runs the migrations. The role of the processes
# (devops_manager) reads and writes rows, and cannot change or empty the audit trail. What is there
# already is kept: tables of an installation with one role are given to the owner, and the password
# of that role stays. A new role's URL is printed once, with its password. `manage.py migrate` with
# both URLs follows, and gives the processes' role its rights. Where PostgreSQL is: PGHOST, PGPORT.
set -eu

role=${1:-devops_manager}
owner=${2:-devops_manager_owner}
database=${3:-devops_manager}

fail() {
    printf '%s\n' "database-roles.sh: $*" >&2
    exit 1
}

for name in "$role" "$owner" "$database"; do
    case $name in
    '' | *[!a-z0-9_]* | [0-9]*) fail "a name is made of a-z, 0-9 and _: $name" ;;
    esac
done
[ "$role" != "$owner" ] || fail "two roles are needed, not $role twice"

run() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"
}

ask() {
    run --dbname postgres --command "$1"
}

[ "$(ask "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")" = t ] ||
    fail "this needs a superuser of PostgreSQL (sudo -u postgres)"
[ "$(ask "SELECT count(*) FROM pg_roles WHERE rolname = '$role' AND oid = 10")" = 0 ] ||
    fail "$role is the superuser that PostgreSQL was made with; name another role for the processes"

# Prints the line with the URL when the role is new. The password goes over standard input, so that
# it is in no process list.
make_role() {
    [ "$(ask "SELECT count(*) FROM pg_roles WHERE rolname = '$2'")" = 0 ] || return 0
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' "SET log_statement = 'none'; SET log_min_error_statement = 'panic';" \
        "CREATE ROLE $2 LOGIN PASSWORD '$password';" | run --dbname postgres
    printf '%s\n' "$1=postgresql://$2:$password@127.0.0.1:5432/$database"
}

make_role DATABASE_OWNER_URL "$owner"
make_role DATABASE_URL "$role"
if [ "$(ask "SELECT count(*) FROM pg_database WHERE datname = '$database'")" = 0 ]; then
    ask "CREATE DATABASE $database OWNER $owner ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C.UTF-8'"
fi
run --dbname "$database" <<END
BEGIN;
SET LOCAL client_min_messages = warning;
ALTER ROLE $role NOSUPERUSER NOCREATEDB NOCREATEROLE;
REVOKE $owner FROM $role;
REASSIGN OWNED BY $role TO $owner;
ALTER DATABASE $database OWNER TO $owner;
ALTER SCHEMA public OWNER TO $owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
COMMIT;
END
