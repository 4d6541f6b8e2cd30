#!/usr/bin/env bash
# Puts the ONNX Runtime shared libraries into .cache/ort, where the engine in
# model/ort looks for them. They come out of a pinned PyPI wheel: nothing is
# installed into the system or into a Python environment.
#
#   scripts/setup-ort.sh           install what is missing
#   scripts/setup-ort.sh --print   print the folder and exit
#
# ORT_MACHINE=aarch64 on another machine puts the libraries of that one into .cache/ort-aarch64.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=$root/.cache/ort
downloads=$root/.cache/downloads

machine=${ORT_MACHINE:-$(uname -m)}
foreign=()
if [[ $machine != "$(uname -m)" ]]; then
	dest=$dest-$machine
	foreign=(--platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine" --python-version 3.11)
fi
case $machine in
x86_64) wheel=onnxruntime-openvino==1.24.1 size="about 84 MB" ;;
aarch64 | arm64) wheel=onnxruntime==1.24.1 size="about 17 MB" ;;
*)
	echo "setup-ort: there is no ONNX Runtime wheel for $machine; build the library from source" \
		"and set NIGHTSEG_ORT_DIR to its folder" >&2
	exit 1
	;;
esac

if [[ ${1:-} == --print ]]; then
	echo "$dest"
	exit 0
fi

# The recipe's version is part of the stamp: change it when the steps change.
stamp="$wheel recipe-1"
if [[ -f $dest/stamp && ($(<"$dest/stamp") == "$stamp" || $(<"$dest/stamp") == "own library"*) ]]; then
	exit 0
fi

if [[ -f /etc/nv_tegra_release && ${#foreign[@]} -eq 0 ]]; then
	echo "setup-ort: this is a Jetson: $wheel runs on its processor only;" \
		"scripts/ort-jetson.sh tells how to get a library that uses the GPU" >&2
fi

if ! python3 -m pip --version >/dev/null 2>&1; then
	"$root"/scripts/system.sh python
fi

echo "setup-ort: fetching the PyPI wheel $wheel ($size) into .cache/downloads" \
	"and unpacking its libraries into ${dest#"$root"/}"
mkdir -p "$downloads"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
	"${foreign[@]}" --dest "$downloads" "$wheel"

name=${wheel%%==*}
pattern="${name//-/_}-${wheel##*==}-*.whl"
file=$(find "$downloads" -maxdepth 1 -name "$pattern" -name "*$machine*" | sort | tail -n 1)
if [[ -z $file ]]; then
	echo "setup-ort: pip reported success but left no $pattern in $downloads" >&2
	exit 1
fi

# Unpacked beside the goal and moved in one step: an interrupted run leaves no half a library.
work=$dest.part
rm -rf "$work"
mkdir -p "$work"
python3 - "$file" "$work" <<'PY'
"""Unpack the shared libraries and the licence texts of an ONNX Runtime wheel."""
import os
import shutil
import sys
import zipfile

wheel, dest = sys.argv[1:]
# Not needed: the Python module itself, and plugins for devices that nightseg does not use.
skip = ("pybind11_state", "intel_gpu_plugin", "intel_npu_plugin", "auto_plugin", "hetero_plugin", "openvino_c.so")
kept: dict[tuple[int, int], str] = {}
with zipfile.ZipFile(wheel) as z:
    for info in sorted(z.infolist(), key=lambda i: -len(i.filename)):
        name = os.path.basename(info.filename)
        licence = name in ("LICENSE", "ThirdPartyNotices.txt")
        library = "/capi/" in info.filename and ".so" in name
        if not (licence or library) or any(s in name for s in skip):
            continue
        path = os.path.join(dest, name)
        same = kept.get((info.CRC, info.file_size))
        if library and same:
            os.symlink(same, path)  # a wheel holds copies where a library folder has links
            continue
        with z.open(info) as src, open(path, "wb") as out:
            shutil.copyfileobj(src, out)
        os.chmod(path, 0o755 if library else 0o644)
        kept[(info.CRC, info.file_size)] = name
PY
if ! compgen -G "$work/libonnxruntime.so*" >/dev/null; then
	echo "setup-ort: $file holds no libonnxruntime.so" >&2
	exit 1
fi
echo "$stamp" >"$work/stamp"
rm -rf "$dest"
mv "$work" "$dest"
echo "setup-ort: done: $(du -sh "$dest" | cut -f1) in ${dest#"$root"/}"
