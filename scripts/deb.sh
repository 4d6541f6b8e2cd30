#!/usr/bin/env bash
# Makes the Debian packages nightseg, nightseg-capture and nightseg-street-11 in out/.
#
#   scripts/deb.sh              for this machine
#   ARCH=arm64 scripts/deb.sh   for another one: needs a C compiler for it
#
# VERSION names the version; without it that of the last tag v*, or 0.1.0~git<day>.<commit>.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export LC_ALL=C.UTF-8

host=$(dpkg --print-architecture)
ARCH=${ARCH:-$host}
case $ARCH in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*)
	echo "deb: ARCH=$ARCH: there are packages for amd64 and arm64 only" >&2
	exit 2
	;;
esac
work=$root/out/package/$ARCH
stage=$work/stage

version() {
	local tag commit day
	if tag=$(git describe --tags --match 'v[0-9]*' --exact-match 2>/dev/null); then
		echo "${tag#v}"
	elif commit=$(git rev-parse --short=8 HEAD 2>/dev/null); then
		day=$(git log -1 --format=%cd --date=format:%Y%m%d%H%M)
		echo "0.1.0~git$day.$commit"
	else
		echo 0.1.0
	fi
}
VERSION=${VERSION:-$(version)}
MAINTAINER=${MAINTAINER:-"nightseg maintainers <maintainers@nightseg.invalid>"}
# Equal sources make equal packages: all files have the time of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
year=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y)
export ARCH VERSION MAINTAINER SOURCE_DATE_EPOCH

# build makes the programs for ARCH, with the version in them.
build() {
	local ldflags="-s -w -X main.packaged=$VERSION"
	mkdir -p "$work/bin"
	CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=false -ldflags "-s -w" \
		-o "$work/bin/nightseg-lamp" ./cmd/nightseg-lamp
	if [[ $ARCH == "$host" ]]; then
		local tags=""
		scripts/system.sh jpeg || tags=purejpeg
		go build -trimpath -buildvcs=false -buildmode=pie -ldflags "$ldflags" -tags "$tags" -o "$work/bin/nightseg" ./cmd/nightseg
		if pkg-config --exists opencv4 2>/dev/null && command -v g++ >/dev/null; then
			go build -trimpath -buildvcs=false -buildmode=pie -ldflags "-s -w" \
				-o "$work/bin/nightseg-capture" ./cmd/nightseg-capture
		fi
		return
	fi
	# The other machine's libjpeg-turbo and OpenCV are not at hand.
	echo "deb: $ARCH on $host: with the slower JPEG decoder of Go's library, and without nightseg-capture," \
		"whose OpenCV must be of the machine it runs on" >&2
	CGO_ENABLED=1 GOOS=linux GOARCH=$ARCH CC=$cross go build -trimpath -buildvcs=false -buildmode=pie -ldflags "$ldflags" \
		-tags purejpeg -o "$work/bin/nightseg" ./cmd/nightseg
}

# put MODE FILE... FOLDER: copies, with the time of the commit.
put() {
	local mode=$1 to=${*: -1}
	mkdir -p "$to"
	install -m "$mode" "${@:2:$#-2}" "$to"
}

# doc PACKAGE: what Debian wants in each package.
doc() {
	local to=$stage/$1/usr/share/doc/$1
	mkdir -p "$to"
	printf 'nightseg (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$VERSION" \
		"$MAINTAINER" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$to/changelog.gz"
}

stage_nightseg() {
	local to=$stage/nightseg ort=.cache/ort name
	[[ $ARCH == "$host" ]] || ort=.cache/ort-$machine
	put 755 "$work/bin/nightseg" "$work/bin/nightseg-lamp" "$to/usr/bin"
	mkdir -p "$to/usr/lib/nightseg" "$to/usr/share/nightseg/bundles"
	cp -a "$ort"/*.so* "$to/usr/lib/nightseg/"
	chmod 644 "$to"/usr/lib/nightseg/*.so*
	cp -r model/bundles/synth-11 "$to/usr/share/nightseg/bundles/"
	local units=packaging/systemd
	put 644 "$units/nightseg.service" "$units/nightseg-replay@.service" "$units/nightseg-lamp.service" \
		"$units/nightseg-update.path" "$units/nightseg-update.service" "$to/usr/lib/systemd/system"
	put 644 "$units/10-backoff.conf" "$to/usr/lib/systemd/system/nightseg.service.d"
	put 644 "$units"/platform/*.conf "$to/usr/share/nightseg/systemd"
	mkdir -p "$to/usr/lib/sysusers.d"
	install -m 644 "$units/nightseg.sysusers" "$to/usr/lib/sysusers.d/nightseg.conf"
	put 644 "$units/70-nightseg.rules" "$to/usr/lib/udev/rules.d"
	install -m 644 docs/nightseg.example.yaml "$stage/nightseg.yaml"
	name=$to/usr/share/doc/nightseg
	put 644 README.md CHANGELOG.md docs/service.md docs/updates.md docs/settings.md docs/mqtt.md docs/sources.md \
		docs/bundles.md docs/board.md docs/jetson.md docs/nightseg.example.yaml "$name"
	copyright "$ort" >"$name/copyright"
	put 644 "$ort/ThirdPartyNotices.txt" "$name"
	mkdir -p "$name/mosquitto"
	put 644 packaging/mosquitto/nightseg.acl packaging/mosquitto/nightseg.conf "$name/mosquitto"
	doc nightseg
	overrides nightseg "embedded-library" "library-not-linked-against-libc" "custom-library-search-path" \
		"hardening-no-fortify-functions" "shared-library-lacks-prerequisites" "no-manual-page" \
		"maintainer-script-calls-systemctl" "unstripped-binary-or-object" \
		"statically-linked-binary" "systemd-service-file-refers-to-unusual-wantedby-target" # the lamp's
}

stage_capture() {
	put 755 "$work/bin/nightseg-capture" "$stage/nightseg-capture/usr/bin"
	doc nightseg-capture
	copyright "" >"$stage/nightseg-capture/usr/share/doc/nightseg-capture/copyright"
	overrides nightseg-capture no-manual-page
}

stage_street() {
	local to=$stage/nightseg-street-11
	mkdir -p "$to/usr/share/nightseg/bundles"
	cp -r model/bundles/street-11 "$to/usr/share/nightseg/bundles/"
	doc nightseg-street-11
	{
		printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: nightseg street-11\n\n'
		printf 'Files: *\nCopyright: %s the authors of nightseg\nLicense: research-use-only\n ' "$year"
		python3 -c 'import json; b = json.load(open("model/bundles/street-11/bundle.json")); print(b["licence"] + ".")'
		python3 -c 'import json; b = json.load(open("model/bundles/street-11/bundle.json"))
print(" .\n " + b["card"]["data"])'
	} >"$to/usr/share/doc/nightseg-street-11/copyright"
}

# overrides PACKAGE TAG...: what lintian finds and is so on purpose.
overrides() {
	local to=$stage/$1/usr/share/lintian/overrides
	mkdir -p "$to"
	printf "$1: %s\n" "${@:2}" >"$to/$1"
}

copyright() {
	cat <<-EOT
		Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
		Upstream-Name: nightseg

		Files: *
		Copyright: $year the authors of nightseg
		License: Apache-2.0
		 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
	EOT
	[[ -n $1 ]] || return 0
	cat <<-EOT

		Files: usr/lib/nightseg/*
		Copyright: 2018 Microsoft Corporation, Intel Corporation and others
		License: MIT and Apache-2.0
		 ONNX Runtime, under:
	EOT
	sed 's/^[[:space:]]*$/./; s/^/ /' "$1/LICENSE"
	printf ' .\n OpenVINO and oneTBB, under the Apache License 2.0; ThirdPartyNotices.txt beside this file has the rest.\n'
}

# depends FOLDER: the packages that its programs and libraries need, with versions.
depends() {
	local files=() private=()
	mapfile -t files < <(find "$1" -type f \( -name '*.so*' -o -path '*/usr/bin/*' \))
	[[ ! -d $1/usr/lib/nightseg ]] || private=(-l"$1/usr/lib/nightseg" -xlibtbb12)
	if [[ $ARCH != "$host" ]]; then
		echo "libc6 (>= 2.34), libgcc-s1 (>= 3.0), libstdc++6 (>= 11)" # what the wheels for manylinux_2_28 and Go need
		return
	fi
	mkdir -p "$work/shlibs/debian"
	printf 'Source: nightseg\n\nPackage: nightseg\nArchitecture: any\n' >"$work/shlibs/debian/control"
	(cd "$work/shlibs" && dpkg-shlibdeps -O --ignore-missing-info "${private[@]}" "${files[@]}" 2>"$work/shlibs.log") |
		sed 's/^shlibs:Depends=//'
}

pack() {
	local name=$1 arch=$ARCH
	[[ $name != nightseg-street-11 ]] || arch=all
	if [[ $arch == all ]]; then DEPENDS=""; else DEPENDS=$(depends "$stage/$name"); fi
	export DEPENDS
	find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	mkdir -p "$root/out"
	(cd "$work" && "$maker" "$root/packaging/deb/$name.yaml" "$root/out/${name}_${VERSION}_$arch.deb")
	echo "deb: out/${name}_${VERSION}_$arch.deb ($(du -h "$root/out/${name}_${VERSION}_$arch.deb" | cut -f1))"
}

cross=$machine-linux-gnu-gcc
if [[ $ARCH != "$host" ]] && ! command -v "$cross" >/dev/null; then
	echo "deb: packages for $ARCH need the C compiler $cross here (apt-get install gcc-$machine-linux-gnu)," \
		"or a machine of that kind" >&2
	exit 3
fi
scripts/system.sh deb
ORT_MACHINE=$machine scripts/setup-ort.sh
build
maker=$work/bin/deb
echo "deb: building the maker of packages (nfpm)"
(cd packaging/deb && go build -trimpath -buildvcs=false -o "$maker" .)

rm -rf "$stage"
mkdir -p "$stage"
cp -r packaging/deb/scripts "$work/"
stage_nightseg
pack nightseg
if [[ -x $work/bin/nightseg-capture ]]; then
	stage_capture
	pack nightseg-capture
elif [[ $ARCH == "$host" ]]; then
	echo "deb: no nightseg-capture: install libopencv-dev, g++ and pkg-config to make it" >&2
fi
stage_street
pack nightseg-street-11
