# Builds a Kubernetes node image with Packer. Run as root:
#   packer build -var profile=debian-13 docs/templates/nodeimage.pkr.hcl
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
  description = "A built-in profile's name, or the path of a profile file."
}

variable "output_directory" {
  type        = string
  default     = "build"
  description = "Where the image and its manifest appear."
}

source "nodeimage" "node" {
  profile          = var.profile
  output_directory = var.output_directory
}

build {
  sources = ["source.nodeimage.node"]

  # The order matters: the runtime must be there before images are preloaded,
  # and nothing may touch the system after it was sealed. Your own provisioners
  # go before nodeimage-seal.
  provisioner "nodeimage-host" {
    profile = var.profile
  }
  provisioner "nodeimage-runtime" {
    profile = var.profile
  }
  provisioner "nodeimage-kubernetes" {
    profile = var.profile
  }
  provisioner "nodeimage-seal" {
    profile = var.profile
  }

  # Looks into the finished image and fails the build on a fault that would
  # break a node; Packer then removes the image.
  post-processor "nodeimage-validate" {
    profile = var.profile
  }
}
