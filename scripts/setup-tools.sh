#!/usr/bin/env bash
# Builds the pinned Go formatter and linter into .cache/bin.
#
#   scripts/setup-tools.sh gofumpt|golangci-lint ...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/.cache/bin
mkdir -p "$bin"

for tool in "$@"; do
	case $tool in
	gofumpt) module=mvdan.cc/gofumpt@v0.9.2 about="a few seconds" ;;
	golangci-lint)
		module=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.11.0
		about="about 130 MB of sources; a few minutes"
		;;
	*)
		echo "setup-tools: $tool is not known" >&2
		exit 2
		;;
	esac
	stamp="$module $(go env GOVERSION)"
	if [[ -x $bin/$tool && -f $bin/$tool.stamp && $(<"$bin/$tool.stamp") == "$stamp" ]]; then
		continue
	fi
	echo "setup-tools: building $module into .cache/bin ($about)"
	log=$(mktemp)
	# Outside of the module: the tools have their own dependencies. The log is shown when it fails.
	if ! (cd / && GOFLAGS='' GOBIN=$bin go install "$module" >"$log" 2>&1); then
		grep -v '^go: downloading' "$log" >&2 || true
		rm -f "$log"
		echo "setup-tools: $module could not be built" >&2
		exit 1
	fi
	rm -f "$log"
	echo "$stamp" >"$bin/$tool.stamp"
done
