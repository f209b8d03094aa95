# Makes a managed image in Azure from Debian's own; logs in as the Azure CLI does.
#   packer init docs/templates/azure-arm.pkr.hcl
#   packer build -var resource_group=images -var location=westeurope docs/templates/azure-arm.pkr.hcl
packer {
  required_version = ">= 1.12.0"
  required_plugins {
    nodeimage = {
      version = ">= 0.0.1"
      source  = "github.com/nodeimage/nodeimage"
    }
    azure = {
      version = ">= 2.0.0"
      source  = "github.com/hashicorp/azure"
    }
  }
}

variable "profile" {
  type        = string
  default     = "debian-13"
  description = "A built-in profile's name, or the path of a profile file. The machine must run the release that it is for."
}

variable "resource_group" {
  type        = string
  description = "An existing resource group, which gets the image."
}

variable "location" {
  type = string
}

source "azure-arm" "node" {
  use_azure_cli_auth                = true
  location                          = var.location
  vm_size                           = "Standard_D2s_v5"
  os_type                           = "Linux"
  image_publisher                   = "Debian"
  image_offer                       = "debian-13"
  image_sku                         = "13-gen2"
  managed_image_resource_group_name = var.resource_group
  managed_image_name                = "nodeimage-${var.profile}-${formatdate("YYYYMMDDhhmmss", timestamp())}"

  communicator            = "ssh"
  ssh_username            = "packer"
  temporary_key_pair_type = "rsa"
}

build {
  sources = ["source.azure-arm.node"]

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
  # The agent keeps the machine's identity, where there is one.
  provisioner "shell" {
    inline = ["if command -v waagent >/dev/null; then sudo waagent -force -deprovision; fi"]
  }
  # Nothing may touch the system after it was sealed.
  provisioner "nodeimage-seal" {
    profile = var.profile
  }
}
