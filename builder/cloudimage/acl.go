package cloudimage

import (
	"encoding/binary"
	"fmt"
)

// The attributes that access control lists are kept in.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// The kinds of entries of a list, and the identifier of those that have none
// (linux/posix_acl.h).
const (
	aclUser      = 0x02
	aclGroup     = 0x08
	aclNoID      = ^uint32(0)
	aclOnDisk    = 1
	aclAttribute = 2
)

// aclForUse turns an access control list as ext4 stores it (fs/ext4/acl.h), in
// which only named users and groups have a number, into what setxattr(2) takes
// (linux/posix_acl_xattr.h).
func aclForUse(stored []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(stored) < 4 || le.Uint32(stored) != aclOnDisk {
		return nil, fmt.Errorf("found an access control list of %d bytes that does not begin with version %d", len(stored), aclOnDisk)
	}
	out := le.AppendUint32(nil, aclAttribute)
	for rest := stored[4:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, fmt.Errorf("the access control list ends within an entry")
		}
		kind, id, length := le.Uint16(rest), aclNoID, 4
		if kind == aclUser || kind == aclGroup {
			if length = 8; len(rest) < length {
				return nil, fmt.Errorf("the access control list ends within an entry")
			}
			id = le.Uint32(rest[4:])
		}
		out = append(out, rest[:4]...)
		out = le.AppendUint32(out, id)
		rest = rest[length:]
	}
	return out, nil
}
