#!/bin/sh
# Makes an .env for docker-compose.yml with new random secrets, readable by its owner only:
#
#     sh deploy/make-env.sh > .env      # or, without a redirect: sh deploy/make-env.sh .env
#
# A file that has something in it is left alone: with other secrets the database could not be opened
# any more. (A redirect empties .env before this runs; give the name as an argument to be safe.)
set -eu
umask 077

fail() {
    printf '%s\n' "make-env.sh: $*" >&2
    exit 1
}

secret() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

environment() {
    cat <<END
DM_SECRET_KEY=$(secret)$(secret)
DM_DB_PASSWORD=$(secret)
DM_DB_RUN_PASSWORD=$(secret)
DM_REDIS_PASSWORD=$(secret)
DM_ADMIN_PASSWORD=$(secret)
# The names and addresses under which people and agents reach this machine:
DM_ALLOWED_HOSTS=localhost,127.0.0.1
DM_GATEWAY_URL=https://localhost
# nginx does TLS; 0 only behind nothing at all, on a machine of one's own:
DM_TLS=1
END
}

if [ "$#" -gt 1 ]; then
    fail "one file name at most"
elif [ "$#" = 1 ]; then
    [ ! -s "$1" ] || fail "$1 has secrets in it already; move it away first"
    : >>"$1"
    chmod 600 "$1"
    environment >"$1"
else
    # The shell has made the file, by its own umask, before this script had a say.
    if [ -f /dev/stdout ]; then
        [ ! -s /dev/stdout ] || fail "the output has something in it already"
        chmod 600 /dev/stdout || fail "the output's mode cannot be set to 0600"
    fi
    environment
fi
