#!/bin/sh
# Installs the DevOps Manager agent on this host, or updates it. Run it as root.
#
#   curl -fsSLO https://SERVER/agent/install.sh &&
#       sh install.sh                       asks for the enrolment token
#       sh install.sh --token-file FILE     reads it from a file
#
# with sudo before sh where you are not root. Do not pipe it into sh: where the download fails, sh
# gets nothing, does nothing and says that all is well.
#
# The token can also come in DM_AGENT_ENROLLMENT_TOKEN. It is never taken from the command line,
# where every user of this host could read it.
set -eu

server=@SERVER_URL@
download=@DOWNLOAD_URL@
sha256="@SHA256@"
token_file=""
allow_http=false
ca_file=""
hostname=""
proxy=""

# Below another root it installs and enrols, and starts nothing: for images, chroots and tests.
root=${DM_INSTALL_ROOT:-}
program=$root/usr/local/bin/devops-agent
library=$root/usr/local/lib/devops-agent
settings=$root/etc/devops-agent
config=$settings/agent.toml
state=$root/var/lib/devops-agent
unit=$root/etc/systemd/system/devops-agent.service

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

usage() {
    cat <<EOF
Usage: sh install.sh [--server URL] [--token-file FILE] [--ca-file FILE] [--hostname NAME]
                     [--proxy URL] [--allow-http] | --uninstall

  --server URL       the gateway (default: $server)
  --token-file FILE  a file that holds the enrolment token
  --ca-file FILE     certificates to trust for the server, in PEM
  --proxy URL        the HTTP proxy on the way to the server, such as http://proxy:3128; one that
                     wants a password is better written into agent.toml afterwards
  --hostname NAME    the name to show for this host (default: its own)
  --allow-http       accept a server without TLS; for trusted networks only
  --uninstall        stop and remove the agent, its settings and its journal
EOF
}

has_systemd() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

uninstall() {
    if has_systemd; then
        systemctl disable --now devops-agent.service 2>/dev/null || true
    fi
    rm -rf "$program" "$library" "$unit" "$state" "$config"
    rmdir "$settings" 2>/dev/null || true
    if has_systemd; then
        systemctl daemon-reload || true
    fi
    echo "The agent was removed. Remove the host on the server too."
    exit 0
}

while [ $# -gt 0 ]; do
    case "$1" in
    --server | --token-file | --ca-file | --hostname | --proxy)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case "$1" in
        --server) server=$2 ;;
        --token-file) token_file=$2 ;;
        --ca-file) ca_file=$2 ;;
        --hostname) hostname=$2 ;;
        --proxy) proxy=$2 ;;
        esac
        shift
        ;;
    --allow-http) allow_http=true ;;
    --uninstall) remove=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail "unknown option $1; see --help" ;;
    esac
    shift
done

[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "run it as root, such as with sudo"
[ -z "${remove:-}" ] || uninstall
[ "$(uname -s)" = Linux ] || fail "the agent runs on Linux only"
case "$server$ca_file$hostname$proxy" in
*[\"\\]*) fail "a value has a quote or a backslash in it" ;;
esac

# The package that has a new enough Python, by the system's own description of itself.
python_package() {
    release=$root/etc/os-release
    [ -r "$release" ] || release=/etc/os-release
    [ -r "$release" ] || release=/usr/lib/os-release
    id="" like="" version="" platform=""
    if [ -r "$release" ]; then
        # In shells of their own: the file may set any variable.
        id=$(. "$release" >/dev/null 2>&1 && echo "${ID:-}") || true
        like=$(. "$release" >/dev/null 2>&1 && echo "${ID_LIKE:-}") || true
        version=$(. "$release" >/dev/null 2>&1 && echo "${VERSION_ID:-}") || true
        platform=$(. "$release" >/dev/null 2>&1 && echo "${PLATFORM_ID:-}") || true
    fi
    none="no package of this release has it; a Python in /usr/local/bin is found, too"
    case "$id:$version" in
    ubuntu:14.* | ubuntu:16.* | ubuntu:18.* | debian:8* | debian:9* | debian:10*) echo "$none" ;;
    ubuntu:20.*) echo "apt-get install python3.9" ;;
    openEuler:20.* | openeuler:20.*)
        echo "dnf install python3 gives 3.7 here and 3.9 from openEuler 22.03 on; $none"
        ;;
    openEuler:* | openeuler:*) echo "dnf install python3" ;;
    kylin:*10*)
        case " $like " in
        *" debian "* | *" ubuntu "*) echo "apt-get install python3.9" ;;
        *) echo "dnf install python3 gives 3.7 on Kylin V10 and 3.11 on V11; $none" ;;
        esac
        ;;
    kylin:*) echo "dnf install python3" ;;
    amzn:2) echo "$none" ;;
    alpine:*) echo "apk add python3" ;;
    sles:15* | sled:15* | opensuse-leap:15*) echo "zypper install python311" ;;
    sles:12*) echo "$none" ;;
    *) python_package_by_family "$id $like" "$version" "$platform" ;;
    esac
}

python_package_by_family() {
    case " $1 :$3:$2" in
    *:platform:el8:* | *" rhel "*::8* | *" centos "*::8*)
        echo "dnf install python39 (or python3.11)"
        ;;
    *" rhel "*:7* | *" centos "*:7*) echo "$none" ;;
    *" rhel "* | *" centos "* | *" fedora "*) echo "dnf install python3" ;;
    *" debian "* | *" ubuntu "*) echo "apt-get install python3" ;;
    *" suse "* | *" opensuse "*) echo "zypper install python3" ;;
    *" arch "*) echo "pacman -S python" ;;
    *" alpine "*) echo "apk add python3" ;;
    *) echo "install the package python3 of your system" ;;
    esac
}

python=""
for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
    found=$(command -v "$candidate" 2>/dev/null) || continue
    if "$found" -c 'import sys, sqlite3, ssl; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        python=$found
        break
    fi
done
[ -n "$python" ] || fail "Python 3.9 or later with sqlite3 and ssl is needed: $(python_package)"

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Downloading the agent from $download"
if command -v curl >/dev/null 2>&1; then
    curl -fsSL ${proxy:+--proxy "$proxy"} ${ca_file:+--cacert "$ca_file"} -o "$work/agent" "$download" ||
        fail "the download failed"
elif command -v wget >/dev/null 2>&1; then
    http_proxy=${proxy:-${http_proxy:-}} https_proxy=${proxy:-${https_proxy:-}} wget -q ${ca_file:+--ca-certificate="$ca_file"} -O "$work/agent" "$download" ||
        fail "the download failed"
else
    fail "curl or wget is needed"
fi
echo "$sha256  $work/agent" | sha256sum -c - >/dev/null 2>&1 ||
    fail "the download is not what this script was made for; fetch install.sh again"
"$python" "$work/agent" version >/dev/null || fail "$python cannot run the agent"

install -d -m 0755 "$library" "$settings" "${program%/*}"
install -d -m 0711 "$state"
install -m 0644 "$work/agent" "$library/devops-agent.pyz.new"
mv "$library/devops-agent.pyz.new" "$library/devops-agent.pyz"
cat >"$work/program" <<EOF
#!/bin/sh
exec "$python" "$library/devops-agent.pyz" "\$@"
EOF
install -m 0755 "$work/program" "$program"

if [ -e "$config" ]; then
    echo "Keeping the settings in $config"
else
    {
        echo "# Settings of the DevOps Manager agent; the server's docs/agent.md lists them all."
        echo "server = \"$server\""
        [ -z "$root" ] || echo "state_dir = \"$state\""
        [ -z "$ca_file" ] || echo "ca_file = \"$ca_file\""
        [ -z "$proxy" ] || echo "proxy = \"$proxy\""
        [ -z "$hostname" ] || echo "hostname = \"$hostname\""
        [ "$allow_http" = false ] || echo "allow_http = true"
    } >"$work/config"
    install -m 0600 "$work/config" "$config"
fi

if [ -n "$token_file" ]; then
    DM_AGENT_ENROLLMENT_TOKEN_FILE=$token_file
    export DM_AGENT_ENROLLMENT_TOKEN_FILE
fi
enroll() {
    "$program" enroll --config "$config" || fail "the host is not enrolled; run this again"
}

if [ ! -t 0 ] && (: </dev/tty) 2>/dev/null; then
    # Piped into sh: the token is typed at the terminal.
    enroll </dev/tty
else
    enroll
fi

if [ -z "$proxy" ] && [ -n "${HTTPS_PROXY:-}${https_proxy:-}" ] && ! grep -q '^proxy' "$config"; then
    echo "Note: a proxy is set in this shell, which a service does not see. If the server is behind it," \
        "write proxy = \"http://…\" into $config and restart the agent."
fi

if has_systemd; then
    cat >"$work/unit" <<'UNIT'
@UNIT@
UNIT
    install -m 0644 "$work/unit" "$unit"
    systemctl daemon-reload
    systemctl enable devops-agent.service >/dev/null 2>&1
    systemctl restart devops-agent.service
    echo "The agent runs. Its log: journalctl -u devops-agent"
else
    echo "Nothing was started: there is no systemd here. Start the agent with: $program run --config $config"
fi
