# Makes an image in Google Cloud from Debian's own.
#   packer init docs/templates/googlecompute.pkr.hcl
#   packer build -var project=my-project -var zone=europe-west3-a docs/templates/googlecompute.pkr.hcl
packer {
  required_version = ">= 1.12.0"
  required_plugins {
    nodeimage = {
      version = ">= 0.0.1"
      source  = "github.com/nodeimage/nodeimage"
    }
    googlecompute = {
      version = ">= 1.1.0"
      source  = "github.com/hashicorp/googlecompute"
    }
  }
}

variable "profile" {
  type        = string
  default     = "debian-13"
  description = "A built-in profile's name, or the path of a profile file. The machine must run the release that it is for."
}

variable "project" {
  type = string
}

variable "zone" {
  type = string
}

variable "source_image_family" {
  type        = string
  default     = "debian-13"
  description = "The newest image of the family is taken."
}

source "googlecompute" "node" {
  project_id              = var.project
  zone                    = var.zone
  source_image_family     = var.source_image_family
  source_image_project_id = ["debian-cloud"]
  machine_type            = "e2-standard-2"
  disk_size               = 20
  image_name              = "nodeimage-${var.profile}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  image_family            = "nodeimage-${var.profile}"

  communicator            = "ssh"
  ssh_username            = "packer"
  temporary_key_pair_type = "ed25519"
}

build {
  sources = ["source.googlecompute.node"]

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
