#!/bin/sh
# Writes the manual pages and the completions of PROGRAM, as it tells them itself: pages.sh PROGRAM DIRECTORY
set -eu
program=$1 man=$2/man completions=$2/completions
rm -rf "$man" "$completions"
mkdir -p "$man" "$completions"
"$program" man > "$man/v6fleet.1"
"$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\)  .*/\1/p' | grep -vx help | while read -r command; do
    "$program" man "$command" > "$man/v6fleet-$command.1"
done
"$program" completions bash > "$completions/v6fleet.bash"
"$program" completions zsh > "$completions/_v6fleet"
"$program" completions fish > "$completions/v6fleet.fish"
