# Installs Debian in vSphere from its installer and makes a template of it.
#   packer init docs/templates/vsphere-iso.pkr.hcl
#   packer build -var-file=vsphere.pkrvars.hcl docs/templates/vsphere-iso.pkr.hcl
packer {
  required_version = ">= 1.12.0"
  required_plugins {
    nodeimage = {
      version = ">= 0.0.1"
      source  = "github.com/nodeimage/nodeimage"
    }
    vsphere = {
      version = ">= 1.4.0"
      source  = "github.com/hashicorp/vsphere"
    }
  }
}

variable "profile" {
  type        = string
  default     = "debian-13"
  description = "A built-in profile's name, or the path of a profile file. The machine must run the release that it is for."
}

variable "vcenter_server" {
  type = string
}

variable "username" {
  type = string
}

variable "password" {
  type      = string
  sensitive = true
}

variable "datacenter" {
  type = string
}

variable "cluster" {
  type = string
}

variable "datastore" {
  type = string
}

variable "network" {
  type = string
}

variable "iso_url" {
  type        = string
  description = "Debian's netinst ISO of one point release."
}

variable "iso_checksum" {
  type        = string
  description = "The ISO's checksum, as sha512:..., from a list whose signature you checked."
}

variable "public_key" {
  type        = string
  description = "The line for authorized_keys that belongs to private_key_file."
}

variable "private_key_file" {
  type = string
}

source "vsphere-iso" "node" {
  vcenter_server = var.vcenter_server
  username       = var.username
  password       = var.password
  datacenter     = var.datacenter
  cluster        = var.cluster
  datastore      = var.datastore

  vm_name              = "nodeimage-${var.profile}"
  guest_os_type        = "debian12_64Guest"
  firmware             = "efi"
  CPUs                 = 2
  RAM                  = 4096
  disk_controller_type = ["pvscsi"]
  convert_to_template  = true

  storage {
    disk_size             = 20480
    disk_thin_provisioned = true
  }

  network_adapters {
    network      = var.network
    network_card = "vmxnet3"
  }

  iso_url      = var.iso_url
  iso_checksum = var.iso_checksum
  boot_wait    = "5s"
  boot_command = [
    "c<wait>",
    "linux /install.amd/vmlinuz auto=true priority=critical url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg<enter>",
    "initrd /install.amd/initrd.gz<enter>",
    "boot<enter>",
  ]
  # The root partition comes last, so that it can grow; there is no swap.
  http_content = {
    "/preseed.cfg" = <<-EOT
      d-i debian-installer/locale string C.UTF-8
      d-i keyboard-configuration/xkb-keymap select us
      d-i netcfg/choose_interface select auto
      d-i netcfg/get_hostname string node
      d-i netcfg/get_domain string
      d-i mirror/country string manual
      d-i mirror/http/hostname string deb.debian.org
      d-i mirror/http/directory string /debian
      d-i mirror/http/proxy string
      d-i passwd/root-login boolean false
      d-i passwd/user-fullname string packer
      d-i passwd/username string packer
      d-i passwd/user-password-crypted password !
      d-i clock-setup/utc boolean true
      d-i time/zone string Etc/UTC
      d-i partman-auto/method string regular
      d-i partman-partitioning/choose_label select gpt
      d-i partman-auto/expert_recipe string node :: 64 64 64 free $iflabel{ gpt } $reusemethod{ } method{ efi } format{ } . 2048 10000 -1 ext4 method{ format } format{ } use_filesystem{ } filesystem{ ext4 } mountpoint{ / } .
      d-i partman-auto/choose_recipe select node
      d-i partman-basicfilesystems/no_swap boolean false
      d-i partman/choose_partition select finish
      d-i partman/confirm boolean true
      d-i partman/confirm_nooverwrite boolean true
      tasksel tasksel/first multiselect
      d-i pkgsel/include string openssh-server sudo cloud-init open-vm-tools
      popularity-contest popularity-contest/participate boolean false
      d-i grub-installer/only_debian boolean true
      d-i preseed/late_command string in-target sh -c "install -d -m 0700 -o packer -g packer /home/packer/.ssh && echo '${var.public_key}' >/home/packer/.ssh/authorized_keys && chown packer:packer /home/packer/.ssh/authorized_keys && echo 'packer ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/packer"
      d-i finish-install/reboot_in_progress note
    EOT
  }

  communicator              = "ssh"
  ssh_username              = "packer"
  ssh_private_key_file      = var.private_key_file
  ssh_timeout               = "1h"
  ssh_clear_authorized_keys = true
  # The rule for sudo has to go, and only root can power off: so it goes last.
  shutdown_command = "sudo sh -c 'rm /etc/sudoers.d/packer && systemctl poweroff'"
}

build {
  sources = ["source.vsphere-iso.node"]

  provisioner "nodeimage-host" {
    profile          = var.profile
    install_packages = true
  }
  provisioner "nodeimage-runtime" {
    profile = var.profile
  }
  provisioner "nodeimage-kubernetes" {
    profile = var.profile
  }
  # Nothing may touch the system after it was sealed.
  provisioner "nodeimage-seal" {
    profile = var.profile
  }
}
