#!/usr/bin/env bash
# Makes sure that system packages are there. As root it says what it is about to
# install, and installs it; without root it says what to ask for.
#
#   scripts/system.sh GROUP...     python, jpeg, capture, opencv, brokers, deb, units, vm, arm64
#
# Exit codes: 0 all there, 1 the installation failed, 3 something is missing and
# root is needed.
set -euo pipefail

# A package and how to see that what it brings is there, so that machines that got
# it in another way are left alone.
have() {
	case $1 in
	python3-pip) python3 -m pip --version ;;
	python3-venv) python3 -c 'import ensurepip, venv' ;;
	libturbojpeg0-dev) header turbojpeg.h ;;
	g++) command -v g++ ;;
	pkg-config) command -v pkg-config ;;
	libopencv-dev) pkg-config --exists opencv4 ;;
	mosquitto) command -v mosquitto || test -x /usr/sbin/mosquitto ;;
	mosquitto-clients) command -v mosquitto_sub ;;
	ffmpeg) command -v ffmpeg ;;
	dpkg-dev) command -v dpkg-shlibdeps ;;
	qemu-system-x86) command -v qemu-system-x86_64 ;;
	qemu-utils) command -v qemu-img && command -v qemu-io ;;
	qemu-user-static) command -v qemu-aarch64-static ;;
	gcc-aarch64-linux-gnu) command -v aarch64-linux-gnu-gcc ;;
	systemd) command -v systemd-analyze && command -v systemd-sysusers ;;
	*) dpkg-query -W -f '${db:Status-Status}' "$1" | grep -qx installed ;;
	esac >/dev/null 2>&1
}

header() { echo "#include <$1>" | "${CC:-gcc}" -fsyntax-only -xc -include stdio.h -; }

members() {
	case $1 in
	python) echo python3-pip python3-venv ;;
	jpeg) echo libturbojpeg0-dev ;;
	opencv) echo g++ pkg-config libopencv-dev ;;
	capture) # what its tests need: a broker, video files, a real RTSP server
		members opencv
		echo ffmpeg gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
			gstreamer1.0-libav gstreamer1.0-rtsp gir1.2-gst-rtsp-server-1.0 python3-gi
		;;
	brokers) echo mosquitto mosquitto-clients ;;
	deb) echo dpkg-dev ;;
	units) echo systemd ;;
	vm) echo qemu-system-x86 qemu-utils debootstrap ;;
	arm64) echo gcc-aarch64-linux-gnu libstdc++6-arm64-cross qemu-user-static ;;
	*)
		echo "system: there is no group $1" >&2
		exit 2
		;;
	esac
}

missing=()
for group in "$@"; do
	list=$(members "$group")
	for package in $list; do
		have "$package" || missing+=("$package")
	done
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
	echo "system: missing: ${missing[*]}" >&2
	echo "system: on Debian and Ubuntu: sudo apt-get install ${missing[*]}" >&2
	exit 3
fi

options=(-o Dpkg::Use-Pty=0)
# A machine that is thrown away afterwards need not wait for its disk after each file.
[[ ${CI:-} != true ]] || options+=(-o Dpkg::Options::=--force-unsafe-io)
apt() { DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get "${options[@]}" "$@"; }

# Without package lists, or with old ones, a package is not known.
size() { LC_ALL=C apt-get install --no-install-recommends --assume-no "${missing[@]}" 2>/dev/null | grep 'Need to get' || true; }
need=$(size)
if [[ -z $need ]]; then
	echo "system: fetching the system's package lists (apt-get update)"
	apt -qq update
	need=$(size)
fi
echo "system: installing with apt-get: ${missing[*]}"
[[ -z $need ]] || echo "system: ${need}"
install() {
	apt -q install -y --no-install-recommends "${missing[@]}" </dev/null |
		awk '/^(Unpacking|Setting up)/ && ++n % 100 == 0 { print "system: " n " steps (two a package)"; fflush() }'
}
if ! install; then
	echo "system: trying again with fresh package lists" # the old ones name files that are gone
	apt -qq update
	install
fi
for package in "${missing[@]}"; do
	if ! have "$package"; then
		echo "system: $package is installed, but what it should bring is not there" >&2
		exit 1
	fi
done
echo "system: done"
