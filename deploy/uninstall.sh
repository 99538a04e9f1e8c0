#!/usr/bin/env bash
# Removes the services and the program. Received images, results, queue and configuration stay.
#   bash deploy/uninstall.sh           keeps /var/lib/negvol-pacs and /etc/negvol-pacs
#   bash deploy/uninstall.sh --purge   deletes them too, and the user
set -euo pipefail
[ "$(id -u)" -eq 0 ] || { echo "Run as root." >&2; exit 1; }
case ${1:-} in "" | --purge) ;; *) echo "usage: uninstall.sh [--purge]" >&2; exit 2 ;; esac

booted() { [ -d /run/systemd/system ]; }

if booted; then systemctl stop 'negvol-pacs*'; fi
rm -f /etc/systemd/system/negvol-pacs{.target,-receiver.service,-worker@.service,-web.service}
rm -f /etc/systemd/system/multi-user.target.wants/negvol-pacs.target
rm -rf /etc/systemd/system/negvol-pacs.target.wants
rm -f /usr/lib/sysusers.d/negvol-pacs.conf /usr/lib/tmpfiles.d/negvol-pacs.conf
[ "$(readlink /usr/local/bin/negvol)" != /opt/negvol-pacs/current/bin/negvol ] || rm -f /usr/local/bin/negvol
rm -rf /opt/negvol-pacs /var/cache/negvol-pacs
if booted; then systemctl daemon-reload; fi
if [ "${1:-}" = --purge ]; then
    rm -rf /var/lib/negvol-pacs /etc/negvol-pacs
    ! getent passwd negvol-pacs >/dev/null || userdel negvol-pacs
fi
