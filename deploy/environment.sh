# Sourced by quickstart.sh and test.sh: system libraries and a virtual environment with pinned versions.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${NEGVOL_VENV:-$repository/.venv}
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

# install_packages PACKAGE...: what is missing of these Debian packages.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "Installing Debian packages: ${missing[*]}"
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "Run as root once, or install these packages: ${missing[*]}" >&2; exit 1; }
        root=(sudo)
    fi
    # Servers among the packages must not start on all interfaces as soon as they are unpacked.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        made=yes
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
        "${root[@]}" chmod 755 "$policy"
    fi
    local status=0
    "${root[@]}" apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        status=$?
    [ -z "$made" ] || "${root[@]}" rm -f "$policy"
    return $status
}

# find_python: a Python 3.11 or newer that can make virtual environments.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv >&2
            command -v "$candidate"
            return
        fi
    done
    install_packages python3 python3-venv >&2
    echo /usr/bin/python3
}

# make_venv [EXTRA]: the package, editable, at the versions of constraints.txt; nothing to do when already made from them.
make_venv() {
    local extra=${1:+[$1]} wanted
    wanted=$(cat "$repository/pyproject.toml" "$repository/deploy/constraints.txt" | sha256sum | cut -d' ' -f1)-${1:-}
    case $(cat "$venv/.made-from" 2>/dev/null) in "$wanted" | "${wanted}test") return ;; esac
    say "Installing Python packages into $venv"
    [ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
    "$venv/bin/pip" install --quiet -c "$repository/deploy/constraints.txt" -e "$repository$extra"
    echo "$wanted" >"$venv/.made-from"
}

# Open3D and its viewers' libraries; without them "import open3d" fails.
system_libraries=(libusb-1.0-0 libgl1 libgomp1 libegl1 libx11-6)
