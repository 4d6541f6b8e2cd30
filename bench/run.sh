#!/usr/bin/env bash
# Runs a script of this folder in its own Python environment, which it makes
# the first time. The program must be there: make build.
#
#   bench/run.sh versus --help
#   bench/run.sh live --broker mosquitto
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
venv=$root/.cache/venv/bench

scripts=$(cd "$here" && grep -l '__main__' ./*.py | sed 's|^\./||; s|\.py$||' | paste -sd' ')
name=${1:-}
if [[ -z $name || ! " $scripts " == *" $name "* ]]; then
	echo "usage: bench/run.sh SCRIPT [ARGUMENTS]; scripts: $scripts" >&2
	exit 2
fi
shift

stamp=$(sha256sum "$here/requirements.txt" | cut -d' ' -f1)
if [[ ! -f $venv/stamp || $(<"$venv/stamp") != "$stamp" ]]; then
	if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
		echo "bench: python3 with venv is missing; on Debian: apt-get install python3-venv" >&2
		exit 1
	fi
	echo "bench: installing what bench/requirements.txt names into .cache/venv/bench (about 400 MB)" >&2
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
	echo "$stamp" >"$venv/stamp"
fi
exec "$venv/bin/python" "$here/$name.py" "$@"
