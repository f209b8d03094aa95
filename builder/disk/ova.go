package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// The machine that an OVA describes: what kubeadm's preflight asks for at
// least is 2 processors and 1700 MiB.
const (
	ovaProcessors = 2
	ovaMemory     = 4096 // MiB
)

// writeOVA writes a tar of an OVF description, the digests of the files, and
// the disk as a VMDK, in the order that the OVF specification (DMTF DSP0243,
// 2.1) wants.
func writeOVA(ctx context.Context, host run.Runner, src Source, path string) (err error) {
	disk := filepath.Join(filepath.Dir(path), src.Name+"-ova.vmdk")
	if err := writeVMDK(ctx, host, src, disk); err != nil {
		return errors.Join(err, remove(disk))
	}
	defer func() { err = errors.Join(err, remove(disk)) }()
	sum, size, err := Digest(ctx, disk)
	if err != nil {
		return err
	}
	name := src.Name + "-disk1.vmdk"
	ovf, err := describeOVF(src, name, size)
	if err != nil {
		return err
	}
	ovfSum := sha256.Sum256(ovf)
	sums := fmt.Sprintf("SHA256(%s.ovf)= %s\nSHA256(%s)= %s\n", src.Name, hex.EncodeToString(ovfSum[:]), name, sum)

	in, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := exclusive(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	archive := tar.NewWriter(out)
	for _, member := range []struct {
		name    string
		size    int64
		content io.Reader
	}{
		{src.Name + ".ovf", int64(len(ovf)), bytes.NewReader(ovf)},
		{src.Name + ".mf", int64(len(sums)), strings.NewReader(sums)},
		{name, size, in},
	} {
		err := archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: member.name, Size: member.size, Mode: 0o644, Format: tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		if _, err := io.Copy(archive, member.content); err != nil {
			return err
		}
	}
	at, err := out.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	// The disk is the last member, and tar rounds up to 512 bytes.
	return checkMember(ctx, host, src, path, at-size, size)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// checkMember has qemu-img compare the disk, where it lies in the archive, with
// what it was made from.
func checkMember(ctx context.Context, host run.Runner, src Source, path string, offset, size int64) error {
	spec, err := json.Marshal(map[string]any{
		"driver": "vmdk",
		"file": map[string]any{
			"driver": "raw", "offset": offset, "size": size,
			"file": map[string]any{"driver": "file", "filename": path},
		},
	})
	if err != nil {
		return err
	}
	return qemuImg(ctx, host, "compare", "-q", "-F", "raw", "json:"+string(spec), src.Raw)
}

// guestType is how hypervisors call a distribution: by CIM_OperatingSystem's
// number, and by VMware's name.
func guestType(distribution string) (id int, name string) {
	switch distribution {
	case "debian":
		return 96, "debian11_64Guest"
	case "ubuntu":
		return 94, "ubuntu64Guest"
	}
	return 101, "otherLinux64Guest"
}

func describeOVF(src Source, file string, size int64) ([]byte, error) {
	id, guest := guestType(src.Distribution)
	var b bytes.Buffer
	err := ovfTemplate.Execute(&b, map[string]any{
		"Name": src.Name, "File": file, "Size": size, "Capacity": src.Size,
		"OS": id, "Guest": guest, "Processors": ovaProcessors, "Memory": ovaMemory,
	})
	return b.Bytes(), err
}

// ovfTemplate describes a machine that VMware's products and VirtualBox both
// take. The drivers of its devices are in every distribution's initramfs.
var ovfTemplate = template.Must(template.New("ovf").Funcs(template.FuncMap{"xml": func(text string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(text))
	return b.String(), err
}}).Parse(`<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file1" ovf:href="{{xml .File}}" ovf:size="{{.Size}}"/>
  </References>
  <DiskSection>
    <Info>The disks of the machine</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{{.Capacity}}" ovf:capacityAllocationUnits="byte" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The networks of the machine</Info>
    <Network ovf:name="nodes">
      <Description>Where the cluster's nodes reach each other</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{{xml .Name}}">
    <Info>A Kubernetes node that has not joined a cluster</Info>
    <Name>{{xml .Name}}</Name>
    <OperatingSystemSection ovf:id="{{.OS}}" vmw:osType="{{xml .Guest}}">
      <Info>The guest operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>The virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{{xml .Name}}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:Description>Virtual processors</rasd:Description>
        <rasd:ElementName>{{.Processors}} virtual processors</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{{.Processors}}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory</rasd:Description>
        <rasd:ElementName>{{.Memory}} MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{{.Memory}}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>SCSI controller</rasd:Description>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>nodes</rasd:Connection>
        <rasd:Description>Network adapter</rasd:Description>
        <rasd:ElementName>Ethernet 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`))
