#!/usr/bin/env bash
# Makes the TensorFlow SavedModels of a bundle out of its ONNX files, once, into
# .cache/savedmodel/<sha256 of the bundle>. The TensorFlow engine reads them there.
#
#   scripts/savedmodel.sh BUNDLE_DIRECTORY
set -euo pipefail

if [[ $# -ne 1 || ! -f $1/bundle.json ]]; then
	echo "usage: scripts/savedmodel.sh BUNDLE_DIRECTORY" >&2
	exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.cache/venv/tf/bin/python
if [[ ! -x $python ]]; then
	echo "savedmodel: the converter is missing; run scripts/setup-tensorflow.sh" >&2
	exit 1
fi

out=$root/.cache/savedmodel
mkdir -p "$out"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The converter and TensorFlow talk a lot; what they say matters when they fail.
if ! "$python" "$root/model/tensorflow/convert.py" "$1" "$out" >"$log" 2>&1; then
	cat "$log" >&2
	echo "savedmodel: the networks of $1 could not be converted" >&2
	exit 1
fi
tail -n 1 "$log"
