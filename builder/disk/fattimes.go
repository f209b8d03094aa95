package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// fatEntry is the size of a directory entry.
const fatEntry = 32

// stampFAT gives every entry of the FAT32 file system in the file the same
// times: mtools writes when a directory was made by this host's clock and time
// zone.
func stampFAT(path string, at time.Time) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	boot := make([]byte, SectorSize)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	fs := fat{
		file:    f,
		cluster: int64(boot[13]) * int64(le.Uint16(boot[11:])),
		table:   int64(le.Uint16(boot[14:])) * int64(le.Uint16(boot[11:])),
		stamp:   fatStamp(at),
	}
	fs.data = fs.table + int64(boot[16])*int64(le.Uint32(boot[36:]))*int64(le.Uint16(boot[11:]))
	if fs.cluster <= 0 || fs.cluster > 1<<16 || le.Uint16(boot[22:]) != 0 {
		return errors.New("expected a FAT32 file system")
	}
	return fs.directory(le.Uint32(boot[44:]), 0)
}

type fat struct {
	file           *os.File
	cluster        int64 // bytes of one
	table, data    int64 // offsets
	stamp          [fatEntry]byte
	clustersWalked int
}

// directory stamps the entries of the directory that begins at cluster first,
// and of those below it.
func (f *fat) directory(first uint32, depth int) error {
	buf := make([]byte, f.cluster)
	for number := first; number >= 2 && number < 0x0ffffff8; {
		if f.clustersWalked++; f.clustersWalked > 1<<16 || depth > 16 {
			return errors.New("its directories never end")
		}
		at := f.data + int64(number-2)*f.cluster
		if _, err := f.file.ReadAt(buf, at); err != nil {
			return fmt.Errorf("reading a directory: %w", err)
		}
		for i := 0; i+fatEntry <= len(buf) && buf[i] != 0; i += fatEntry {
			entry := buf[i : i+fatEntry]
			const longName, directory = 0x0f, 0x10
			if entry[0] == 0xe5 || entry[11] == longName {
				continue
			}
			copy(entry[13:20], f.stamp[13:20]) // made, last read
			copy(entry[22:26], f.stamp[22:26]) // written
			if entry[11]&directory != 0 && entry[0] != '.' {
				le := binary.LittleEndian
				if err := f.directory(uint32(le.Uint16(entry[20:]))<<16|uint32(le.Uint16(entry[26:])), depth+1); err != nil {
					return err
				}
			}
		}
		if _, err := f.file.WriteAt(buf, at); err != nil {
			return err
		}
		var next [4]byte
		if _, err := f.file.ReadAt(next[:], f.table+int64(number)*4); err != nil {
			return fmt.Errorf("reading the allocation table: %w", err)
		}
		number = binary.LittleEndian.Uint32(next[:]) & 0x0fffffff
	}
	return nil
}

// fatStamp is an entry with nothing in it but times, which FAT counts in pairs
// of seconds from 1980 on. They are UTC, as nobody says where a node will be.
func fatStamp(at time.Time) (entry [fatEntry]byte) {
	at = at.UTC()
	if at.Year() < 1980 {
		at = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	date := uint16(at.Year()-1980)<<9 | uint16(at.Month())<<5 | uint16(at.Day())
	clock := uint16(at.Hour())<<11 | uint16(at.Minute())<<5 | uint16(at.Second()/2)
	le := binary.LittleEndian
	le.PutUint16(entry[14:], clock)
	le.PutUint16(entry[16:], date)
	le.PutUint16(entry[18:], date)
	le.PutUint16(entry[22:], clock)
	le.PutUint16(entry[24:], date)
	return entry
}
