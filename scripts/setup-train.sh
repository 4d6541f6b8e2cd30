#!/usr/bin/env bash
# Makes the trainer's Python environment in .cache/venv/train from the pins in
# train/requirements-dev.txt. Only training and its tests need it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.cache/venv/train

stamp="$(python3 -c 'import sys; print(*sys.version_info[:2])') $(cat "$root"/train/requirements*.txt | sha256sum)"
if [[ -f $venv/stamp && $(<"$venv/stamp") == "$stamp" ]]; then
	exit 0
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	echo "setup-train: the trainer needs Python 3.11 or newer" >&2
	exit 1
fi
"$root"/scripts/system.sh python

echo "setup-train: installing PyTorch and the trainer's other packages from PyPI into .cache/venv/train" \
	"(about 3 GB to fetch, 6 GB on disk; PyPI's PyTorch brings CUDA along); this takes some minutes"
mkdir -p "$root/.cache/pip"
[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
rm -f "$venv/stamp"
"$venv/bin/python" -m pip --disable-pip-version-check --cache-dir "$root/.cache/pip" install --quiet \
	-r "$root/train/requirements-dev.txt"
echo "$stamp" >"$venv/stamp"
echo "setup-train: done: $(du -sh "$venv" | cut -f1) in .cache/venv/train"
