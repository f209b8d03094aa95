# Makes a node of a machine that is up already, over SSH, by Packer's own null
# builder. No image comes out: the machine itself is provisioned and sealed.
#   packer build -var host=192.0.2.10 -var private_key_file=~/.ssh/id_ed25519 docs/templates/existing-machine.pkr.hcl
packer {
  required_version = ">= 1.12.0"
  required_plugins {
    nodeimage = {
      version = ">= 0.0.1"
      source  = "github.com/nodeimage/nodeimage"
    }
  }
}

variable "profile" {
  type        = string
  default     = "debian-13"
  description = "A built-in profile's name, or the path of a profile file. The machine must run the release that it is for."
}

variable "host" {
  type        = string
  description = "The machine's address."
}

variable "port" {
  type    = number
  default = 22
}

variable "user" {
  type        = string
  default     = "admin"
  description = "Who logs in: root, or a user with sudo without a password."
}

variable "private_key_file" {
  type        = string
  description = "A key that the user is known by."
}

variable "install_packages" {
  type        = bool
  default     = true
  description = "Whether packages that the machine lacks are installed from its own archives."
}

source "null" "node" {
  communicator         = "ssh"
  ssh_host             = var.host
  ssh_port             = var.port
  ssh_username         = var.user
  ssh_private_key_file = var.private_key_file
  ssh_timeout          = "15m"
}

build {
  sources = ["source.null.node"]

  # The cloud's own set-up may still hold apt. It ends with 2 when it only warns.
  provisioner "shell" {
    inline           = ["cloud-init status --wait"]
    valid_exit_codes = [0, 2]
  }
  provisioner "nodeimage-host" {
    profile          = var.profile
    install_packages = var.install_packages
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
