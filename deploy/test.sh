#!/usr/bin/env bash
# Installs what the tests need and passes them; arguments go to pytest.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install_packages "${system_libraries[@]}" orthanc orthanc-dicomweb orthanc-gdcm dcmtk dicom3tools libgdcm-tools iproute2 openssl systemd
make_venv test
cd "$repository"
say "Style and types"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
say "Tests"
export TCP_NODELAY=1 # dcmtk and Orthanc wait about 45 ms an instance without it
exec "$venv/bin/python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@" # a file stays in one process: its fixtures are dear
