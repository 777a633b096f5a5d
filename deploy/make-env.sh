#!/bin/sh
# Prints an .env for docker-compose.yml with new random secrets: sh deploy/make-env.sh > .env
set -eu
secret() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}
umask 077
cat <<END
DM_SECRET_KEY=$(secret)$(secret)
DM_DB_PASSWORD=$(secret)
DM_REDIS_PASSWORD=$(secret)
DM_ADMIN_PASSWORD=$(secret)
# The names and addresses under which people and agents reach this machine:
DM_ALLOWED_HOSTS=localhost,127.0.0.1
DM_GATEWAY_URL=http://localhost:50051
# 1 behind a proxy that ends TLS and sets X-Forwarded-Proto:
DM_TLS=0
END
