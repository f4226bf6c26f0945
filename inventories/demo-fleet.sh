#!/bin/sh
# Three workers on one run, of which one is killed and one is stopped for longer than its lease and continued: a private
# PostgreSQL, a sandbox, 3,000 VMs at 300 calls a second. `make demo-fleet` runs it.
#
#     sh inventories/demo-fleet.sh V6FLEET DIRECTORY [VMS [RATE]]
set -eu
v6fleet=$1
state=$2
vms=${3:-3000}
rate=${4:-300}

programs=$(find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -n 1)
[ -n "$programs" ] || programs=$(command -v initdb) || { echo "demo-fleet: PostgreSQL is not installed" >&2; exit 1; }
programs=$(dirname "$programs")

rm -rf "$state"
mkdir -p "$state"
state=$(cd "$state" && pwd)
# A socket's path is short, and PostgreSQL refuses to be run by root.
socket=$(mktemp -d)
as() { "$@"; }
if [ "$(id -u)" -eq 0 ]; then
    chown nobody "$socket"
    as() { setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- "$@"; }
fi
(
    cd "$socket"
    as "$programs/initdb" -D "$socket/data" -A trust -E UTF8 --locale=C --no-sync -U fleet
) >"$state/initdb.log" 2>&1
(
    cd "$socket"
    as "$programs/postgres" -D "$socket/data" -k "$socket" -c listen_addresses= -c fsync=off
) >"$state/postgres.log" 2>&1 &
"$v6fleet" sandbox --listen 127.0.0.1:0 --latency 40ms >"$state/sandbox" &
sandbox=$!
trap 'kill "$sandbox" 2>/dev/null; kill -QUIT "$(head -n 1 "$socket/data/postmaster.pid")" 2>/dev/null; sleep 1; rm -rf "$socket"' EXIT
until grep -q '^listening on ' "$state/sandbox" && grep -q ready "$socket/data/postmaster.pid" 2>/dev/null; do
    kill -0 "$sandbox"
    sleep 0.1
done

V6FLEET_BASE_URL=$(sed -n 's/^listening on //p' "$state/sandbox")
V6FLEET_LEDGER=postgres://fleet@$(echo "$socket" | sed 's,/,%2F,g')/postgres
export V6FLEET_BASE_URL V6FLEET_LEDGER HOSTUP_API_KEY=any-key V6FLEET_OUTPUT_DIR="$state/reports"

awk -v vms="$vms" 'BEGIN { print "vmid"; for (i = 0; i < vms; i++) print 200000 + 100 * i }' >"$state/fleet.csv"

"$v6fleet" run "$state/fleet.csv" --action allocate --rate "$rate/s" --lease 2s --quiet >"$state/recap" &
first=$!
"$v6fleet" work --wait --quiet >/dev/null 2>&1 &
killed=$!
"$v6fleet" work --wait --quiet >/dev/null 2>"$state/stopped.log" &
stopped=$!

record() { curl --silent --fail "$V6FLEET_BASE_URL/_sandbox/calls"; }
until [ "$(record | wc -l)" -ge $((vms / 4)) ]; do kill -0 "$first"; sleep 0.2; done
echo "One worker of three is killed, and one stopped for 5 s, longer than its lease." >&2
kill -KILL "$killed"
kill -STOP "$stopped"
sleep 5
kill -CONT "$stopped"

code=0
wait "$first" || code=$?
wait "$stopped" || code=$?
cat "$state/recap"
[ "$code" -eq 0 ] || { echo "demo-fleet: exit code $code, where 0 was expected" >&2; exit 1; }

# A call takes 40 ms: two of one VM that came closer together were under way at once.
record | awk -v vms="$vms" '
    function text(name,  at) { at = index($0, "\"" name "\":\"") + length(name) + 4; return substr($0, at, index(substr($0, at), "\"") - 1) }
    {
        split(substr(text("at"), 12), clock, "[:Z]")
        now = clock[1] * 3600 + clock[2] * 60 + clock[3]
        vm = text("vmid")
        if (!(vm in last)) called++
        else if (now - last[vm] < 0.04) at_once++
        last[vm] = now
        if (NR == 1) first = now
        end = now
    }
    END {
        printf "\nThe API saw %d calls in %.1f s, %.0f a second; %d VMs lost, %d called twice at once.\n",
            NR, end - first, NR / (end - first), vms - called, at_once
        exit called != vms || at_once > 0
    }'
