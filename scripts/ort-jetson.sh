#!/usr/bin/env bash
# Puts an ONNX Runtime that uses a Jetson's GPU into .cache/ort. The index that
# setup-ort.sh uses has no such wheel, so that the library has to come from
# somewhere else; docs/jetson.md says from where. Not run on a Jetson so far.
#
#   scripts/ort-jetson.sh FILE.whl     a wheel of onnxruntime-gpu for this JetPack
#   scripts/ort-jetson.sh FOLDER       a folder with libonnxruntime.so*, as a build from source leaves it
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=$root/.cache/ort
source=${1:-}
least=1.24 # MinVersion of model/ort/library.go

if [[ -r /etc/nv_tegra_release ]]; then
	echo "ort-jetson: this machine: $(head -n 1 /etc/nv_tegra_release | tr -s ' ' | cut -d, -f1,2)"
else
	echo "ort-jetson: this is no Jetson (no /etc/nv_tegra_release)"
fi
if [[ -z $source ]]; then
	cat <<EOF
ort-jetson: give a wheel or a folder: make ort-jetson ORT=FILE.whl (or ORT=FOLDER)

  The library must be ONNX Runtime $least or newer for aarch64, built for the CUDA and TensorRT of this JetPack:

  1. a wheel onnxruntime-gpu-$least.* for cp3xx/linux_aarch64 from NVIDIA's index for your JetPack, where it has one;
  2. or built here, from ONNX Runtime's repository at its tag v1.24.1 (some hours on the board):
       ./build.sh --config Release --build_shared_lib --parallel --skip_tests --allow_running_as_root \\
         --use_cuda --cuda_home /usr/local/cuda --cudnn_home /usr/lib/aarch64-linux-gnu \\
         --use_tensorrt --tensorrt_home /usr/lib/aarch64-linux-gnu
     then: make ort-jetson ORT=build/Linux/Release

  NVIDIA's own wheel for stock JetPack 6 is 1.17: too old for the Go binding that this project is built with;
  docs/jetson.md has what is known.
EOF
	exit 2
fi

work=$dest.part
rm -rf "$work"
mkdir -p "$work"
if [[ -d $source ]]; then
	find "$source" -maxdepth 1 -name 'libonnxruntime*.so*' -exec cp -a {} "$work" \;
else
	python3 - "$source" "$work" <<'PY'
"""Unpack the shared libraries of a wheel."""
import sys
import zipfile
from pathlib import Path

wheel, dest = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    for info in z.infolist():
        name = Path(info.filename).name
        if "/capi/" in info.filename and name.startswith("libonnxruntime") and ".so" in name:
            (Path(dest) / name).write_bytes(z.read(info))
PY
fi

library=$(find "$work" -name 'libonnxruntime.so*' | sort | tail -n 1)
if [[ -z $library ]]; then
	rm -rf "$work"
	echo "ort-jetson: $source holds no libonnxruntime.so" >&2
	exit 1
fi
# The machine is in bytes 18 and 19 of an ELF file: 183 is aarch64, 62 is x86-64.
machine=$(od -An -tu2 -j18 -N2 "$(readlink -f "$library")" | tr -d ' ')
case $(uname -m)-$machine in
aarch64-183 | x86_64-62) ;;
*)
	rm -rf "$work"
	echo "ort-jetson: $(basename "$library") was built for another processor than this $(uname -m)" >&2
	exit 1
	;;
esac
version=$(strings -a "$library" 2>/dev/null | grep -xE '1\.[0-9]+\.[0-9]+' | sort -uV | tail -n 1 || true)
if [[ -n $version && $(printf '%s\n%s\n' "$least" "$version" | sort -V | head -n 1) != "$least" ]]; then
	rm -rf "$work"
	echo "ort-jetson: this is ONNX Runtime $version; the Go binding needs $least or newer (docs/jetson.md)" >&2
	exit 1
fi
if ! compgen -G "$work/libonnxruntime_providers_*.so" >/dev/null; then
	echo "ort-jetson: note: no provider libraries beside it: it will run on the processor only" >&2
fi
echo "own library from $source" >"$work/stamp" # setup-ort.sh leaves it alone
rm -rf "$dest"
mv "$work" "$dest"
echo "ort-jetson: done; now: bin/nightseg doctor, and bin/nightseg bundle verify --provider tensorrt"
