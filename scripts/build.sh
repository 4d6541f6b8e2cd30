#!/usr/bin/env bash
# Builds bin/nightseg, bin/nightseg-lamp, and bin/nightseg-capture where OpenCV is there.
#
#   scripts/build.sh            all programs
#   scripts/build.sh nightseg   the first two only
#
# TAGS=tensorflow adds the TensorFlow engine.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
tags=${TAGS:-}

if ! command -v go >/dev/null; then
	echo "build: Go 1.26 or newer is needed" >&2
	exit 1
fi
if [[ ${CGO_ENABLED:-1} == 1 ]]; then
	# libjpeg-turbo is a matter of speed: without it the program is built all the same.
	scripts/system.sh jpeg || {
		[[ $? -eq 3 ]] || exit 1
		echo "build: going on with the slower JPEG decoder of Go's library" >&2
		tags=${tags:+$tags,}purejpeg
	}
	if [[ ,$tags, == *,tensorflow,* ]]; then
		scripts/setup-tensorflow.sh
		eval "$(scripts/setup-tensorflow.sh --env)"
	fi
fi

[[ -e bin/nightseg ]] || echo "build: compiling bin/nightseg (the first time takes a minute)"
mkdir -p bin
go build -trimpath -tags "$tags" -o bin/nightseg ./cmd/nightseg
CGO_ENABLED=0 go build -trimpath -o bin/nightseg-lamp ./cmd/nightseg-lamp
[[ ${1:-} != nightseg ]] || exit 0

if ! command -v pkg-config >/dev/null || ! pkg-config --exists opencv4 || ! command -v g++ >/dev/null; then
	echo "build: bin/nightseg-capture (cameras, RTSP, video files) needs OpenCV:" \
		"sudo apt-get install libopencv-dev g++ pkg-config" >&2
	exit 0
fi
[[ -e bin/nightseg-capture ]] || echo "build: compiling bin/nightseg-capture (the first time takes a minute or two)"
go build -trimpath -o bin/nightseg-capture ./cmd/nightseg-capture
