package main

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	serviceUser = "nightseg"
	// platformDropIn is what the package puts beside the unit where the board needs more.
	platformDropIn = "etc/systemd/system/nightseg.service.d/platform.conf"
)

// serviceDevices are what the service may need: cameras, graphics, Jetson's parts.
var serviceDevices = []string{"dev/video*", "dev/dri/render*", "dev/nvidia*", "dev/nvmap", "dev/nvhost-*"}

// service looks at what the user of the installed service may do, who need not be
// the one who runs the doctor.
func (d *doctor) service(context.Context) {
	u := readUser(d.root, serviceUser)
	if u == nil {
		d.ok("service", "not installed: there is no user "+serviceUser)
		return
	}
	var denied, may []string
	for _, pattern := range serviceDevices {
		nodes, _ := fs.Glob(d.root, pattern) // the patterns are right
		for _, node := range nodes {
			info, err := fs.Stat(d.root, node)
			if err != nil || info.IsDir() {
				continue
			}
			if u.mayUse(info) {
				may = append(may, "/"+node)
			} else {
				denied = append(denied, "/"+node)
			}
		}
	}
	if len(denied) > 0 {
		d.warn("service", fmt.Sprintf("the user %s may not use %s", serviceUser, strings.Join(denied, " ")),
			"see with ls -l which group may, then: sudo usermod -aG GROUP "+serviceUser)
	} else {
		d.ok("service", fmt.Sprintf("user %s, devices: %s", serviceUser, orNone(may)))
	}
	_, isJetson := fs.Stat(d.root, "etc/nv_tegra_release")
	if _, err := fs.Stat(d.root, platformDropIn); isJetson == nil && err != nil {
		d.warn("service", "this is a Jetson, and the unit's part for it is not in force: no graphics, no CSI cameras",
			"sudo ln -s /usr/share/nightseg/systemd/jetson.conf /"+platformDropIn+"; sudo systemctl daemon-reload")
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}

// account is a user with all groups.
type account struct {
	uid    uint32
	groups []uint32
}

// readUser looks a user up in /etc/passwd and /etc/group below root.
func readUser(root fs.FS, name string) *account {
	var u *account
	for line := range strings.Lines(readWord(root, "etc/passwd")) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 3 && f[0] == name {
			u = &account{uid: number(f[2]), groups: []uint32{number(f[3])}}
		}
	}
	if u == nil {
		return nil
	}
	for line := range strings.Lines(readWord(root, "etc/group")) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 3 && slices.Contains(strings.Split(f[3], ","), name) {
			u.groups = append(u.groups, number(f[2]))
		}
	}
	return u
}

// number reads an id; what is none is nobody's.
func number(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 1<<32 - 1
	}
	return uint32(n)
}

// mayUse reports whether the mode bits of a device let the user read and write.
func (u *account) mayUse(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	shift := 0
	switch {
	case st.Uid == u.uid:
		shift = 6
	case slices.Contains(u.groups, st.Gid):
		shift = 3
	}
	const readWrite = 0o6
	return info.Mode().Perm()>>shift&readWrite == readWrite
}
