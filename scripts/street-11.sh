#!/usr/bin/env bash
# Trains model/bundles/street-11 and makes its integer networks: ten hours on two cores. What is done already is left
# alone, so that it can be broken off and called again.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=.cache/train/street-11
night=../shared/data/msrs_night/night_train_unlabelled/images
dev=../shared/data/msrs_night/night_dev
train() { PYTHONPATH=train/src .cache/venv/train/bin/python -m nightseg_train "$@"; }

train queue --config train/configs/street-11/queue.yaml
train export --config train/configs/street-11/export.yaml

# The drive that ranges and the gate are from: night frames without labels, but for those that choices are made on.
mkdir -p "$work/drive"
for file in "$night"/*; do
	[[ -e $dev/images/${file##*/} ]] || ln -sf "$(realpath "$file")" "$work/drive/"
done
rm -rf "$work/chosen" "$work/quantised"
bin/nightseg calibrate relight --bundle "$work/bundle" --precision fp32 --images "$dev/images" --labels "$dev/labels" \
	--out "$work/chosen"
bin/nightseg calibrate quantize --bundle "$work/chosen" --source "$work/drive" --observer percentile --percentile 99.9999 \
	--set-version 7.0.0 --out "$work/quantised"
rm -rf model/bundles/street-11
mv "$work/quantised" model/bundles/street-11
