# Makes an AMI from Debian's own.
#   packer init docs/templates/amazon-ebs.pkr.hcl
#   packer build -var region=eu-central-1 docs/templates/amazon-ebs.pkr.hcl
packer {
  required_version = ">= 1.12.0"
  required_plugins {
    nodeimage = {
      version = ">= 0.0.1"
      source  = "github.com/nodeimage/nodeimage"
    }
    amazon = {
      version = ">= 1.3.0"
      source  = "github.com/hashicorp/amazon"
    }
  }
}

variable "profile" {
  type        = string
  default     = "debian-13"
  description = "A built-in profile's name, or the path of a profile file. The machine must run the release that it is for."
}

variable "region" {
  type = string
}

variable "source_ami_name" {
  type        = string
  default     = "debian-13-amd64-*"
  description = "The newest that matches is taken; name one with its date to pin it."
}

source "amazon-ebs" "node" {
  region        = var.region
  instance_type = "t3.large"
  ami_name      = "nodeimage-${var.profile}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  ena_support   = true
  imds_support  = "v2.0"

  source_ami_filter {
    filters = {
      name                = var.source_ami_name
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"] # Debian
    most_recent = true
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 20
    volume_type           = "gp3"
    delete_on_termination = true
  }

  communicator              = "ssh"
  ssh_username              = "admin"
  temporary_key_pair_type   = "ed25519"
  ssh_clear_authorized_keys = true
}

build {
  sources = ["source.amazon-ebs.node"]

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
