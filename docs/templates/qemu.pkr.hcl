# Makes a node image from a distribution's cloud image in QEMU.
#   packer init docs/templates/qemu.pkr.hcl
#   packer build -var image_url=... -var image_checksum=sha512:... docs/templates/qemu.pkr.hcl
packer {
  required_version = ">= 1.12.0"
  required_plugins {
    nodeimage = {
      version = ">= 0.0.1"
      source  = "github.com/nodeimage/nodeimage"
    }
    qemu = {
      version = ">= 1.1.0"
      source  = "github.com/hashicorp/qemu"
    }
  }
}

variable "profile" {
  type        = string
  default     = "debian-13"
  description = "A built-in profile's name, or the path of a profile file. The machine must run the release that it is for."
}

variable "image_url" {
  type        = string
  description = "A dated cloud image, as https://cloud.debian.org/images/cloud/trixie/DATE/debian-13-generic-amd64-DATE.qcow2."

  validation {
    condition     = length(regexall("/(current|latest)/", var.image_url)) == 0
    error_message = "The image behind a rolling URL changes: name a dated one."
  }
}

variable "image_checksum" {
  type        = string
  description = "The image's checksum, as sha512:..., from a list whose signature you checked."

  validation {
    condition     = can(regex("^sha(256|512):[0-9a-f]+$", var.image_checksum))
    error_message = "Expected sha256: or sha512: and hexadecimal digits."
  }
}

variable "output_directory" {
  type    = string
  default = "build/qemu"
}

variable "accelerator" {
  type        = string
  default     = "kvm"
  description = "tcg where there is no KVM."
}

source "qemu" "node" {
  iso_url          = var.image_url
  iso_checksum     = var.image_checksum
  disk_image       = true
  disk_size        = "8G"
  format           = "qcow2"
  disk_compression = true
  accelerator      = var.accelerator
  cpus             = 2
  memory           = 4096
  headless         = true
  output_directory = var.output_directory
  vm_name          = "node.qcow2"

  # Packer's key for this build reaches the machine by cloud-init's NoCloud.
  communicator              = "ssh"
  ssh_username              = "packer"
  ssh_timeout               = "15m"
  temporary_key_pair_type   = "ed25519"
  ssh_clear_authorized_keys = true
  cd_label                  = "cidata"
  cd_content = {
    "meta-data" = "instance-id: packer\n"
    "user-data" = <<-EOT
      #cloud-config
      users:
        - name: packer
          shell: /bin/bash
          ssh_authorized_keys:
            - ${build.SSHPublicKey}
      write_files:
        # Not by users: a rule that cloud-init makes goes with the seal, and with
        # it the right to power off.
        - path: /etc/sudoers.d/packer
          permissions: "0440"
          content: "packer ALL=(ALL) NOPASSWD:ALL\n"
    EOT
  }
  # The rule for sudo has to go, and only root can power off: so it goes last.
  shutdown_command = "sudo sh -c 'rm /etc/sudoers.d/packer && systemctl poweroff'"
}

build {
  sources = ["source.qemu.node"]

  # The cloud's own set-up may still hold apt. It ends with 2 when it only warns.
  provisioner "shell" {
    inline           = ["cloud-init status --wait"]
    valid_exit_codes = [0, 2]
  }
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
