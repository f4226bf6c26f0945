#!/bin/sh
# List, plan, run, audit: the account's VMs in the API's v2, against a sandbox of its own. `make demo-v2` runs it.
#
#     sh inventories/demo-v2.sh V6FLEET DIRECTORY
set -eu
v6fleet=$1
state=$2

rm -rf "$state"
mkdir -p "$state"
"$v6fleet" sandbox --listen 127.0.0.1:0 >"$state/sandbox" &
sandbox=$!
trap 'kill "$sandbox"' EXIT
until grep -q '^listening on ' "$state/sandbox"; do
    kill -0 "$sandbox"
    sleep 0.1
done

V6FLEET_BASE_URL=$(sed -n 's/^listening on //p' "$state/sandbox")
export V6FLEET_BASE_URL V6FLEET_API=v2 V6FLEET_RATE=50/s HOSTUP_API_KEY=any-key
export V6FLEET_LEDGER="$state/ledger.db" V6FLEET_OUTPUT_DIR="$state/reports" V6FLEET_ACTION=allocate

# ends CODE COMMAND…: it must end with this exit code.
ends() {
    code=$1
    shift
    printf '\n$ v6fleet %s\n' "$*"
    found=0
    "$v6fleet" "$@" --quiet || found=$?
    [ "$found" -eq "$code" ] || { echo "demo-v2: exit code $found, where $code was expected" >&2; exit 1; }
}

ends 0 inventory -o "$state/fleet.csv"
ends 10 plan "$state/fleet.csv" --detailed-exitcode
ends 0 run "$state/fleet.csv" --only-planned
ends 0 plan "$state/fleet.csv" --detailed-exitcode
ends 0 audit "$state/fleet.csv" --live --min-severity warning
