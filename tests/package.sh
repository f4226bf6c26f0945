#!/bin/sh
# What an administrator does with the Debian package, in a clean root of its own: package.sh PACKAGE NEWER_PACKAGE
#
# It is installed, its unit's command is run as the unit's user against the sandbox, it is upgraded, removed and purged. Of all
# that it brought nothing but state may be left. As root; the clean root is made once, in target/package/root.
set -eu
package=$(realpath "$1") newer=$(realpath "$2")
here=$(cd "$(dirname "$0")/.." && pwd)
clean=$here/target/package/root
work=$(mktemp -d)
root=$work/root
trap 'rm -rf "$work"' EXIT

if [ ! -d "$clean" ]; then
    rm -rf "$clean.new"
    debootstrap --variant=minbase --include=ca-certificates,systemd "${SUITE:-bookworm}" "$clean.new" >"$work/debootstrap.log" ||
        { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
    mv "$clean.new" "$clean"
fi
cp -a "$clean" "$root"
cp "$package" "$newer" "$root/tmp/"

say() { echo "package: $*"; }
fail() { echo "package: $*" >&2; exit 1; }
# A mount namespace of its own: nothing of it is left when the command has ended.
within() { unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" chroot "$root" "$@"; }
files() { (cd "$root" && find . -path ./proc -prune -o -path ./tmp -prune -o -path ./run -prune -o -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -print) | sort; }

# What the unit would do, with its variables and as its user, but against the sandbox.
unit=usr/lib/systemd/system/v6fleet.service
night() {
    (
        unset IFS
        set -f
        command=$(sed -n 's/^ExecStart=//p' "$root/$unit")
        variables=$(sed -n 's/^Environment=//p' "$root/$unit" | sed 's/%S/\/var\/lib/; s/%%/%/')
        umask "$(sed -n 's/^UMask=//p' "$root/$unit")"
        # shellcheck disable=SC2086
        within runuser -u "$(sed -n 's/^User=//p' "$root/$unit")" -- env -i PATH=/usr/local/bin:/usr/bin:/bin \
            HOME=/var/lib/v6fleet $variables V6FLEET_MAX_CHANGED=100% V6FLEET_SANDBOX=true $command
    )
}

files >"$work/before"

within dpkg --install "/tmp/$(basename "$package")" >/dev/null
say "installed $(within v6fleet --version)"
within systemd-analyze verify v6fleet.timer v6fleet.service v6fleet-failed.service || fail "its units are not right"
[ ! -L "$root/etc/systemd/system/timers.target.wants/v6fleet.timer" ] || fail "its timer is on before it has a fleet"
[ "$(within stat -c '%U:%G %a' /etc/v6fleet /var/lib/v6fleet | tr '\n' ' ')" = "root:v6fleet 750 v6fleet:v6fleet 750 " ] ||
    fail "its directories are not right"
for page in $(within v6fleet man | grep -o 'v6fleet\\-[a-z]*' | sed 's/\\//' | sort -u | grep -vx v6fleet-help); do
    [ -s "$root/usr/share/man/man1/$page.1.gz" ] || fail "no manual page $page"
done

printf 'vmid\n10000\n10001\n' >"$root/etc/v6fleet/fleet.csv"
within systemctl --quiet enable v6fleet.timer
night >"$work/first" || fail "the first night ended with $?"
grep -q '^Complete: 2 VMs, 2 created,' "$work/first" || fail "$(cat "$work/first")"
[ "$(within sh -c 'stat -c "%U:%G %a" /var/lib/v6fleet/v6fleet.prom /var/lib/v6fleet/reports/*/report.csv' | sort -u)" = \
    "v6fleet:v6fleet 640" ] || fail "its reports are not the group's to read"
say "ran as its user: $(head -n 1 "$work/first")"

within dpkg --install "/tmp/$(basename "$newer")" >/dev/null
[ -L "$root/etc/systemd/system/timers.target.wants/v6fleet.timer" ] || fail "the upgrade turned the timer off"
night >"$work/second" || fail "the second night ended with $?"
grep -q '^Complete: 2 VMs, 0 created, 2 unchanged,' "$work/second" || fail "$(cat "$work/second")"
say "upgraded, and ran again: $(head -n 1 "$work/second")"

within dpkg --remove v6fleet >/dev/null
[ ! -e "$root/usr/bin/v6fleet" ] || fail "removed, and still there"
[ ! -L "$root/etc/systemd/system/timers.target.wants/v6fleet.timer" ] || fail "removed, and its timer still on"
[ -s "$root/etc/v6fleet/fleet.csv" ] || fail "removed, and the inventory with it"
within dpkg --purge v6fleet >/dev/null
[ -s "$root/etc/v6fleet/fleet.csv" ] || fail "purged, and the inventory with it"
[ -s "$root/var/lib/v6fleet/ledger.db" ] || fail "purged, and the ledger with it"
say "removed and purged; inventory and ledger are still there"

# State, and what was put there by hand.
rm -r "$root/etc/v6fleet" "$root/var/lib/v6fleet"
files >"$work/after"
# The system's own notes of users, the one before the last too.
if diff "$work/before" "$work/after" | grep '^[<>]' | grep -v '^> ./etc/\(passwd\|group\|shadow\|gshadow\)-$'; then
    fail "left behind, or lost"
fi
say "nothing else was left behind"
