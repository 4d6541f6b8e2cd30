package capture

import (
	"regexp"
	"strconv"
	"strings"
)

// Redact hides in an address what its reader must not learn: user and password of
// a URI, and the values of parameters that are named like them.
func Redact(source string) string {
	scheme, rest, found := strings.Cut(source, "://")
	if !found {
		return source
	}
	if host := authority(rest); strings.Contains(host, "@") {
		rest = "***" + rest[strings.LastIndexByte(host, '@'):]
	}
	return scheme + "://" + secrets.ReplaceAllString(rest, "$1=***")
}

var secrets = regexp.MustCompile(`(?i)(user|username|usr|pass|passwd|password|pwd|token|secret|auth|key)=[^&/?#]*`)

// authority is what comes before the path: user, password, host and port. A
// password with a slash that should have been written as %2F counts as part of
// it, lest half of it be shown.
func authority(rest string) string {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return rest
	}
	host := rest[:end]
	if _, port, found := strings.Cut(host, ":"); found && !strings.Contains(host, "@") {
		_, err := strconv.ParseUint(port, 10, 16)
		if last := strings.LastIndexByte(rest, '@'); last >= 0 && err != nil && !strings.HasPrefix(host, "[") {
			return rest[:last+1+len(authority(rest[last+1:]))]
		}
	}
	return host
}
