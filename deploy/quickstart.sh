#!/usr/bin/env bash
# From a bare Debian 12 to a measured head: installs what is missing, then runs the demo.
#   bash deploy/quickstart.sh                  a synthetic head
#   bash deploy/quickstart.sh --dicom FOLDER   your own head CT series
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install_packages "${system_libraries[@]}"
make_venv
say "Running negvol demo"
exec "$venv/bin/negvol" demo "$@"
