#!/usr/bin/env bash
# Makes the machine that `make e2e-vm` boots: a Debian 12 with its own kernel, in .cache/vm (2 GB).
#
#   base.qcow2, vmlinuz, initrd.img
#
# The mirror is that of this machine's apt. The libraries of OpenCV are in the image; what else the packages depend
# on or recommend lies in its folder /srv/packages, for apt to take from there. The image is made again when this
# script or what the packages depend on has changed. It takes root.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
vm=$root/.cache/vm
suite=bookworm
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

needs() { dpkg-deb -f "$1" Depends | tr -d ' ' | tr ',' '\n' | sed 's/(.*//' | sort; }
newest() { find "$root/out" -maxdepth 1 -name "$1_*_$(dpkg --print-architecture).deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2; }
service=$(newest nightseg) capture=$(newest nightseg-capture)
if [[ -z $service || -z $capture ]]; then
	echo "vm: out/ lacks packages of nightseg and nightseg-capture: make deb, with libopencv-dev installed" >&2
	exit 1
fi
stamp=$({ cat "${BASH_SOURCE[0]}" && needs "$service" && needs "$capture"; } | sha256sum | cut -c 1-16)
[[ ! -f $vm/stamp || $(<"$vm/stamp") != "$stamp" ]] || exit 0

mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
	awk -v suite=$suite '$2 == suite { print $1; exit }')
if [[ -z $mirror ]]; then
	echo "vm: this machine's apt knows no mirror of Debian 12 ($suite)" >&2
	exit 1
fi

# A namespace of its own: mounts end with it, however it ends.
if [[ ${1:-} != --inside ]]; then
	mkdir -p "$vm"
	exec unshare --mount "$BASH" "${BASH_SOURCE[0]}" --inside
fi

tree=$vm/tree
say() { echo "vm: $(date +%H:%M:%S) $*"; }
within() { chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
apt() { within apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io --no-install-recommends "$@" >>"$vm/image.log" 2>&1; }

# debootstrap makes the plain system, once: the steps after it may change.
if [[ ! -f $vm/tree.stamp || $(<"$vm/tree.stamp") != "$suite recipe-2" ]]; then
	say "debootstrap: Debian 12 with systemd and the distribution's kernel (log: .cache/vm/image.log)"
	rm -rf "$tree"
	debootstrap --variant=minbase --include=systemd-sysv,udev,dbus,linux-image-amd64,qemu-guest-agent,kmod,procps,iproute2,netbase \
		$suite "$tree" "$mirror" >"$vm/image.log"
	echo "$suite recipe-2" >"$vm/tree.stamp"
fi
mount -t proc proc "$tree/proc"
mount -t sysfs -o ro sysfs "$tree/sys"
mount --rbind /dev "$tree/dev"
mount --bind /etc/resolv.conf "$tree/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d" # nothing starts in here
chmod 755 "$tree/usr/sbin/policy-rc.d"

echo "deb $mirror $suite main" >"$tree/etc/apt/sources.list"
apt update
mapfile -t libraries < <(needs "$capture")
say "installing the libraries of OpenCV"
apt install "${libraries[@]}" strace
say "fetching what apt is to install in the machine"
rm -rf "$tree/srv/packages"
mkdir -p "$tree/srv/packages"
mapfile -t rest < <(needs "$service" && echo ca-certificates)
apt install --download-only -o Dir::Cache::archives=/srv/packages -o APT::Keep-Downloaded-Packages=true "${rest[@]}"
rm -rf "$tree"/srv/packages/{partial,lock}
(cd "$tree/srv/packages" && dpkg-scanpackages -m . >Packages 2>>"$vm/image.log")
echo "deb [trusted=yes] file:/srv/packages ./" >"$tree/etc/apt/sources.list"
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/*.bin "$tree"/var/cache/apt/archives/*.deb

say "settings of the machine"
echo nightseg-vm >"$tree/etc/hostname"
echo 127.0.0.1 localhost nightseg-vm >"$tree/etc/hosts"
echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$tree/etc/fstab" # Debian's own options: ordered, barriers, a commit each 5 s
printf '[Match]\nName=en*\n[Network]\nDHCP=ipv4\n' >"$tree/etc/systemd/network/80-vm.network"
mkdir -p "$tree/var/log/journal"
within systemctl -q enable systemd-networkd qemu-guest-agent
within systemctl -q mask getty@tty1 serial-getty@ttyS0 apt-daily.timer apt-daily-upgrade.timer man-db.timer \
	e2scrub_all.timer fstrim.timer systemd-networkd-wait-online
echo MODULES=list >"$tree/etc/initramfs-tools/conf.d/vm"
printf 'virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n' >>"$tree/etc/initramfs-tools/modules"
within update-initramfs -u -k all >>"$vm/image.log" 2>&1
rm -f "$tree/usr/sbin/policy-rc.d" "$tree"/var/lib/dbus/machine-id
: >"$tree/etc/machine-id" # made at the boot; "uninitialized" would make systemd enable all units anew

umount "$tree/etc/resolv.conf" "$tree/proc" "$tree/sys"
umount -R "$tree/dev"
rm -f "$tree/etc/resolv.conf"
printf 'nameserver 10.0.2.3\n' >"$tree/etc/resolv.conf"
say "the disk"
cp "$tree"/boot/vmlinuz-* "$vm/vmlinuz"
cp "$tree"/boot/initrd.img-* "$vm/initrd.img"
rm -f "$vm/base.raw" "$vm/stamp"
mkfs.ext4 -q -L root -d "$tree" "$vm/base.raw" 6G >>"$vm/image.log"
qemu-img convert -O qcow2 "$vm/base.raw" "$vm/base.qcow2"
rm -f "$vm/base.raw"
echo "$stamp" >"$vm/stamp"
say "done: $(du -h "$vm/base.qcow2" | cut -f1) in .cache/vm/base.qcow2"
