#!/usr/bin/env bash
# Installs the node as systemd services on Debian 12, or upgrades it; configuration, results and queue are kept.
#   bash deploy/install.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
[ "$(id -u)" -eq 0 ] || { echo "Run as root." >&2; exit 1; }

prefix=/opt/negvol-pacs configuration=/etc/negvol-pacs/config.toml
booted() { [ -d /run/systemd/system ]; }

# One folder a release, made beside the running one: the old one serves until the link is moved.
make_release() {
    local sources release copy
    sources=$(cd "$repository" && find pyproject.toml deploy/constraints.txt negvol_pacs models -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    release=$prefix/releases/${sources:0:12}
    if [ ! -e "$release/.complete" ]; then
        say "Installing Python packages into $release"
        rm -rf "$release"
        "$(find_python)" -m venv "$release"
        copy=$(mktemp -d) # pip would build inside the checkout
        cp -r "$repository"/{pyproject.toml,README.md,LICENSE,negvol_pacs,models} "$copy"
        "$release/bin/pip" install --quiet -c "$repository/deploy/constraints.txt" "$copy"
        rm -rf "$copy"
        install -D -m 644 "$repository/docs/service.md" "$release/share/doc/negvol-pacs/service.md"
        touch "$release/.complete"
    fi
    [ ! -e "$configuration" ] || "$release/bin/negvol" check-config "$configuration" # before anything changes
    previous=$(readlink -f "$prefix/current" || true)
    [ "$previous" != "$release" ] || return 0
    ln -sfn "$release" "$prefix/current.new"
    mv -T "$prefix/current.new" "$prefix/current"
    find "$prefix/releases" -mindepth 1 -maxdepth 1 ! -path "$release" ! -path "$previous" -exec rm -rf {} +
}

install_units() {
    [ -e /etc/systemd/system/negvol-pacs-web.service ] && has_web=yes || has_web=no
    install -m 644 "$repository"/deploy/systemd/*.service "$repository"/deploy/systemd/*.target /etc/systemd/system/
    install -D -m 644 "$repository/deploy/systemd/sysusers.conf" /usr/lib/sysusers.d/negvol-pacs.conf
    install -D -m 644 "$repository/deploy/systemd/tmpfiles.conf" /usr/lib/tmpfiles.d/negvol-pacs.conf
    systemd-sysusers negvol-pacs.conf
    install -d /etc/negvol-pacs
    [ -e "$configuration" ] || install -m 640 "$repository/config.toml" "$configuration"
    systemd-tmpfiles --create negvol-pacs.conf
}

start_units() {
    local workers=()
    mapfile -t workers < <(cd /etc/systemd/system && ls negvol-pacs.target.wants 2>/dev/null | grep '^negvol-pacs-worker@.' || true)
    [ ${#workers[@]} -gt 0 ] || workers=(negvol-pacs-worker@node-1.service)
    # The status page is switched on once; who disables it later keeps it so.
    [ "$has_web" = yes ] || systemctl enable --quiet negvol-pacs-web.service
    systemctl enable --quiet negvol-pacs.target negvol-pacs-receiver.service "${workers[@]}"
    booted || { say "systemd is not running here: the node starts with the machine"; return; }
    systemctl daemon-reload
    say "Starting"
    systemctl restart negvol-pacs-receiver.service "${workers[@]}" # drains first
    ! systemctl is-enabled --quiet negvol-pacs-web.service || systemctl restart negvol-pacs-web.service ||
        say "The status page does not start: journalctl -u negvol-pacs-web"
    systemctl start negvol-pacs.target
}

install_packages systemd "${system_libraries[@]}"
make_release
install_units
start_units
ln -sfn "$prefix/current/bin/negvol" /usr/local/bin/negvol
say "Done. Edit $configuration, then: systemctl reload 'negvol-pacs-*.service'"
