#!/usr/bin/env bash
# Runs every fuzz target, one after the other, for FUZZTIME each (default 1m).
# New findings are written to testdata/fuzz beside the test: commit them.
#
#   scripts/fuzz.sh [PACKAGE...]     e.g. FUZZTIME=10m scripts/fuzz.sh ./edge/message
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=()
for dir in $(go list -f '{{.Dir}}' "${@:-./...}"); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | cut -c 6- || true); do
		package=./${dir#"$PWD"/}
		echo "fuzz: $package $target for ${FUZZTIME:=1m}"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x "$package" || failed+=("$package $target")
	done
done
if [[ ${#failed[@]} -gt 0 ]]; then
	printf 'fuzz: a finding: %s\n' "${failed[@]}" >&2
	exit 1
fi
echo "fuzz: nothing found"
