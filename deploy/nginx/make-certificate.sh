#!/bin/sh
# Makes a self-signed certificate for a first start: make-certificate.sh <directory> <name>[,<name>…]
# Keeps the tls.crt and tls.key that are there. Agents trust it with ca_file (docs/agent.md).
set -euf
directory=$1
names=$2
if [ -e "$directory/tls.crt" ] && [ -e "$directory/tls.key" ]; then
    exit 0
fi
alternatives=
IFS=,
for name in $names; do
    case $name in
    '' | '*') continue ;;
    *:* | *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
    esac
    case $name in
    \[*\]) name=${name#\[} name=${name%\]} kind=IP ;;
    .*) name=*$name ;;
    esac
    alternatives="$alternatives${alternatives:+,}$kind:$name"
done
umask 077
openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 825 \
    -subj "/CN=DevOps Manager" -addext "subjectAltName=$alternatives" \
    -addext "basicConstraints=critical,CA:TRUE" \
    -keyout "$directory/tls.key.new" -out "$directory/tls.crt.new" 2>/dev/null
mv "$directory/tls.key.new" "$directory/tls.key"
mv "$directory/tls.crt.new" "$directory/tls.crt"
chmod 644 "$directory/tls.crt"
