#!/usr/bin/env bash
# Sets up and runs every check, or the parts that are named, and ends with a
# summary: what passed, what failed, what was skipped and why.
#
#   scripts/test.sh [PART...]
#
#   go          all packages with goroutines, with the race detector
#   nocgo       build and tests of all packages without cgo; the pure-Go JPEG decoder
#   capture     nightseg-capture with OpenCV: video files, a real RTSP server, kills
#   tensorflow  the TensorFlow engine against ONNX Runtime on the same bundles
#   alone       what needs a quiet machine: allocations; and the documented readers in Python
#   e2e         the built programs at work; two minutes of it with a connection that is cut, where nothing may grow
#   lint        gofumpt and golangci-lint
#   train       the trainer's tests
#   bench       the tests of the measuring scripts
#   package     the systemd units and the Debian packages: rated, installed, run, purged
#   style       ruff and mypy; links in the docs
#
# Two lanes run side by side: Go, and Python with its large downloads. Logs of all
# parts are kept in .cache/test.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
logs=.cache/test
skip=77 # exit code of a part that cannot run here

# need GROUP...: system packages, or skip the part.
need() {
	local code=0
	scripts/system.sh "$@" || code=$?
	[[ $code -ne 3 ]] || exit "$skip"
	[[ $code -eq 0 ]] || exit 1
}

# jpeg_tags prints the build tags for a machine without libjpeg-turbo.
jpeg_tags() { scripts/system.sh jpeg >/dev/null 2>&1 || echo purejpeg; }

part_go() {
	scripts/setup-ort.sh
	scripts/system.sh jpeg || [[ $? -eq 3 ]]
	scripts/system.sh brokers || [[ $? -eq 3 ]]
	local tags packages=()
	tags=$(jpeg_tags)
	mapfile -t packages < <(go list ./... | grep -v /cmd/nightseg-capture)
	go vet -tags "$tags" "${packages[@]}"
	# The race detector slows these two ten times; one has no goroutines, of the other those
	# parts are looked at that have. Allocations are counted without it (alone).
	mapfile -t packages < <(printf '%s\n' "${packages[@]}" | grep -v -e /camera/synth -e /edge/decide)
	python3 scripts/gotest.py -race -skip Alloc -tags "$tags" "${packages[@]}"
	python3 scripts/gotest.py -race -run 'Loop|Late|Close|Wait|Drawn' ./camera/synth
}

part_nocgo() {
	CGO_ENABLED=0 go build ./...
	CGO_ENABLED=0 python3 scripts/gotest.py ./...
	python3 scripts/gotest.py -tags purejpeg ./camera/jpeg ./camera/images
}

part_capture() {
	need capture
	scripts/build.sh
	python3 scripts/gotest.py ./camera/capture/... ./cmd/nightseg-capture/...
	python3 scripts/gotest.py -tags "$(jpeg_tags)" -run 'Video|KilledCapture' ./cmd/nightseg
}

part_tensorflow() {
	need python
	scripts/setup-tensorflow.sh
	eval "$(scripts/setup-tensorflow.sh --env)"
	local bundle
	for bundle in model/testdata/tiny model/bundles/*/; do
		scripts/savedmodel.sh "${bundle%/}"
	done
	python3 scripts/gotest.py -tags "tensorflow,$(jpeg_tags)" ./model/tensorflow
	mkdir -p bin
	go build -trimpath -tags "tensorflow,$(jpeg_tags)" -o bin/nightseg-tensorflow ./cmd/nightseg
	for bundle in model/bundles/*/; do
		bin/nightseg-tensorflow bundle verify "${bundle%/}" --precision fp32
	done
}

part_alone() {
	need python
	scripts/setup-train.sh
	local packages=()
	mapfile -t packages < <(go list ./... | grep -v /cmd/nightseg-capture)
	# One package at a time.
	python3 scripts/gotest.py -p 1 -tags "$(jpeg_tags)" -run 'Alloc|Python' "${packages[@]}"
}

part_e2e() {
	scripts/setup-ort.sh
	scripts/build.sh
	python3 scripts/e2e.py
	setup_bench
	# make soak takes an hour at full rate.
	bench/run.sh soak --minutes 2 --outage-every 20 --outage 4 --drain 5 --rate 10 --check \
		--source 'synth://?seed=7001&time=night&size=320x240&loop=16'
}

part_lint() {
	scripts/setup-tools.sh gofumpt golangci-lint
	local bad
	bad=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 ls 2>/dev/null | xargs .cache/bin/gofumpt -l)
	if [[ -n $bad ]]; then
		echo "not formatted (make fmt):" && echo "$bad"
		exit 1
	fi
	local cgo=1
	scripts/system.sh opencv jpeg >/dev/null 2>&1 || cgo=0 # without its headers cgo code cannot be looked at
	CGO_ENABLED=$cgo .cache/bin/golangci-lint run --allow-parallel-runners ./...
}

part_train() {
	need python
	scripts/setup-train.sh
	scripts/setup-ort.sh
	scripts/build.sh nightseg # a test looks at its synthetic streets
	local python=$root/.cache/venv/train/bin/python
	(cd train && "$python" -m pytest -p no:cacheprovider -rs)
}

# setup_bench makes the environment of the measuring scripts, with what their
# tests and types need beside.
setup_bench() {
	local python=.cache/venv/bench/bin/python
	bench/run.sh python_loop --help >/dev/null # makes it
	"$python" -c 'import pytest' 2>/dev/null ||
		"$python" -m pip install --quiet --disable-pip-version-check --cache-dir .cache/pip \
			"$(grep '^pytest==' train/requirements-dev.txt)"
}

part_bench() {
	need python
	setup_bench
	(cd bench && ../.cache/venv/bench/bin/python -m pytest -p no:cacheprovider -rs)
}

part_package() {
	command -v dpkg >/dev/null || { echo "skip package: this is no Debian" && exit "$skip"; }
	need units deb
	ARCH="" scripts/deb.sh
	python3 scripts/package.py
}

part_style() {
	python3 scripts/check_docs.py
	need python
	scripts/setup-train.sh
	local python=$root/.cache/venv/train/bin/python
	(cd train && "$python" -m ruff check . && "$python" -m mypy)
	setup_bench # for the types of its packages
	(cd bench && "$python" -m ruff check . && "$python" -m mypy --python-executable ../.cache/venv/bench/bin/python)
	git ls-files -z --cached --others --exclude-standard '*.py' ':!train' ':!bench' |
		xargs -0 "$python" -m ruff check --config train/pyproject.toml --extend-ignore S101
}

if [[ ${1:-} == --part ]]; then
	"part_$2"
	exit 0
fi

all=(capture go nocgo lint train style tensorflow alone bench e2e package)
parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=("${all[@]}")
for part in "${parts[@]}"; do
	if [[ " ${all[*]} " != *" $part "* ]]; then
		echo "test: there is no part $part; there are: ${all[*]}" >&2
		exit 2
	fi
done
wanted() { [[ " ${parts[*]} " == *" $1 "* ]]; }

rm -rf "$logs"
mkdir -p "$logs"
start=$SECONDS

# run PART SHOW: runs a part as a program of its own, so that its first failing
# command ends it; its log is shown as it comes, or at the end where it failed.
run() {
	local part=$1 show=$2 code=0 begin=$SECONDS
	echo "== $part: start"
	if [[ $show == live ]]; then
		"$BASH" "$root/scripts/test.sh" --part "$part" 2>&1 | tee "$logs/$part.log" || code=${PIPESTATUS[0]}
	else
		"$BASH" "$root/scripts/test.sh" --part "$part" >"$logs/$part.log" 2>&1 || code=$?
		[[ $code -eq 0 || $code -eq $skip ]] || sed "s/^/$part: /" "$logs/$part.log"
	fi
	echo "$code $((SECONDS - begin))" >"$logs/$part.result"
	echo "== $part: $(verdict "$code") after $((SECONDS - begin)) s"
}

verdict() {
	case $1 in
	0) echo passed ;;
	"$skip") echo skipped ;;
	*) echo FAILED ;;
	esac
}

# Packages first: two lanes must not both call apt-get.
groups=()
wanted go && groups+=(python jpeg brokers)
wanted capture && groups+=(capture)
{ wanted tensorflow || wanted train || wanted alone || wanted bench || wanted style; } && groups+=(python)
wanted e2e && groups+=(jpeg brokers)
wanted package && groups+=(python jpeg opencv deb units)
if [[ ${#groups[@]} -gt 0 ]]; then
	scripts/system.sh "${groups[@]}" || [[ $? -eq 3 ]] || exit 1
fi

# Both lanes need it, and must not both unpack it.
if wanted go || wanted train || wanted tensorflow || wanted alone || wanted e2e || wanted package; then
	scripts/setup-ort.sh
fi

python_lane() {
	for part in train style; do
		wanted $part && run $part quiet
	done
	# What the parts of the end will need; what goes wrong here is told by them.
	! wanted tensorflow || scripts/setup-tensorflow.sh >"$logs/setup-tensorflow.log" 2>&1 || true
	! wanted bench || setup_bench >"$logs/setup-bench.log" 2>&1 || true
}
# A process group of its own: a shell without a terminal lets its background
# commands ignore Ctrl-C.
set -m
python_lane &
lane=$!
set +m
trap 'kill -- -$lane 2>/dev/null || true' EXIT

# The capture program first: tests of the other parts start it.
for part in capture go nocgo lint; do
	wanted $part && run $part live
done
wait $lane || true
for part in tensorflow alone bench e2e package; do # these measure: they come last, one after the other
	wanted $part && run $part live
done
trap - EXIT

echo
echo "summary, after $(((SECONDS - start) / 60)) min $(((SECONDS - start) % 60)) s (logs: $logs)"
failed=0
for part in "${parts[@]}"; do
	code=1 took=0
	[[ -f $logs/$part.result ]] && read -r code took <"$logs/$part.result"
	last=$(grep -v '^ *$' "$logs/$part.log" 2>/dev/null | tail -n 1 | cut -c 1-110 || true)
	printf '  %-11s %-8s %4d s  %s\n' "$part" "$(verdict "$code")" "$took" "$last"
	grep -h '^skip ' "$logs/$part.log" 2>/dev/null | cut -c 1-150 | sed 's/^skip /              skipped: /' || true
	grep -hE '^SKIPPED ' "$logs/$part.log" 2>/dev/null | cut -c 1-150 | sed 's/^SKIPPED /              skipped: /' || true
	[[ $code -eq 0 || $code -eq $skip ]] || failed=1
done
exit $failed
