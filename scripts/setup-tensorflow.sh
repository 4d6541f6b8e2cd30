#!/usr/bin/env bash
# Puts TensorFlow where the engine in model/tensorflow and its converter look for
# it: a Python environment in .cache/venv/tf with pinned packages, and links to the
# shared libraries of its wheel, under the names that the Go binding asks for, in
# .cache/tensorflow/lib. Only the `tensorflow` build needs it.
#
#   scripts/setup-tensorflow.sh          install what is missing
#   scripts/setup-tensorflow.sh --env    print the environment for `go build -tags tensorflow`
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lib=$root/.cache/tensorflow/lib
venv=$root/.cache/venv/tf

if [[ ${1:-} == --env ]]; then
	if [[ ! -e $lib/libtensorflow.so || ! -e $lib/libtensorflow_framework.so ]]; then
		echo "setup-tensorflow: no libtensorflow.so in $lib; run scripts/setup-tensorflow.sh" >&2
		exit 1
	fi
	# The binding's headers lie in its own module; only the libraries are here. Its
	# C code is from 2019 and compiles with warnings that say nothing new.
	echo "export CGO_ENABLED=1"
	echo "export CGO_LDFLAGS=\"-L$lib -Wl,-rpath,$lib\""
	echo "export TF_CPP_MIN_LOG_LEVEL=2"
	exit 0
fi

case $(uname -m) in
x86_64) tensorflow=tensorflow-cpu==2.21.0 ;;
aarch64 | arm64) tensorflow=tensorflow==2.21.0 ;;
*)
	echo "setup-tensorflow: there is no TensorFlow wheel for $(uname -m)" >&2
	exit 1
	;;
esac

# Without their dependencies: tf-keras would bring a second TensorFlow, and the
# helpers of the converter their own versions of the rest.
tools=(onnx2tf==1.28.8 tf-keras==2.21.0 onnx-graphsurgeon==0.6.1 sng4onnx==2.0.1 sne4onnx==2.0.1)
plain=("$tensorflow" onnx==1.17.0 onnxruntime==1.24.1 psutil==7.2.2 ai-edge-litert==2.3.0)

# The recipe's version is part of the stamp: change it when the steps change.
stamp="${tools[*]} ${plain[*]} recipe-1"
if [[ -f $venv/stamp && $(<"$venv/stamp") == "$stamp" && -e $lib/libtensorflow.so ]]; then
	exit 0
fi

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
	echo "setup-tensorflow: python3 cannot make environments; on Debian: apt-get install python3-venv" >&2
	exit 1
fi

echo "setup-tensorflow: installing $tensorflow (about 270 MB) and the converter ${tools[0]} with its" \
	"libraries from PyPI into .cache/venv/tf; this takes a minute or two"
rm -rf "$venv" "$lib"
mkdir -p "$root/.cache/pip" "$lib"
python3 -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --cache-dir "$root/.cache/pip" install --quiet)
"${pip[@]}" "${plain[@]}"
"${pip[@]}" --no-deps "${tools[@]}"

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
for name in libtensorflow_cc.so.2 libtensorflow_framework.so.2; do
	if [[ ! -f $site/tensorflow/$name ]]; then
		echo "setup-tensorflow: $tensorflow holds no $name" >&2
		exit 1
	fi
	ln -s "$site/tensorflow/$name" "$lib/$name"
done
ln -s libtensorflow_cc.so.2 "$lib/libtensorflow.so"
ln -s libtensorflow_framework.so.2 "$lib/libtensorflow_framework.so"
echo "$stamp" >"$venv/stamp"
echo "setup-tensorflow: done: $(du -sh "$venv" | cut -f1) in .cache/venv/tf"
