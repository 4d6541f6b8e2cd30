#!/usr/bin/env bash
# Trains model/bundles/synth-11 and makes its integer networks. What is done already is left alone.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=.cache/train/synth-11
drive=$work/synth/night
dev=../shared/data/msrs_night/night_dev
train() { PYTHONPATH=train/src .cache/venv/train/bin/python -m nightseg_train "$@"; }

train fit --config train/configs/synth-11/student.yaml
train export --config train/configs/synth-11/export.yaml

# The drive that ranges and the gate are from: every fourth synthetic night frame.
rm -rf "$drive" "$work/chosen" "$work/quantised"
mkdir -p "$drive"
find .cache/synth/wide/rgb_anon/train/night -name '*.png' | sort | awk 'NR % 4 == 0' | while read -r file; do
	ln -s "$(realpath "$file")" "$drive/"
done
bin/nightseg calibrate relight --bundle "$work/bundle" --precision fp32 --images "$dev/images" --labels "$dev/labels" \
	--out "$work/chosen"
# The package must run on all processors: weights of 7 bits, and the gate is asked as on one without VNNI.
ONEDNN_MAX_CPU_ISA=AVX2 bin/nightseg calibrate quantize --bundle "$work/chosen" --source "$drive" --weight-bits 7 \
	--cache-dir "$work/cache" --set-version 1.2.0 --out "$work/quantised"
rm -rf model/bundles/synth-11
mv "$work/quantised" model/bundles/synth-11
