# What the Packer integrations page shows of this plugin.
integration {
  name        = "nodeimage"
  description = "Builds Kubernetes node images and proves that kubeadm works in them."
  identifier  = "packer/nodeimage/nodeimage"
  component {
    type = "builder"
    name = "nodeimage"
    slug = "nodeimage"
  }
  component {
    type = "provisioner"
    name = "nodeimage-host"
    slug = "host"
  }
  component {
    type = "provisioner"
    name = "nodeimage-runtime"
    slug = "runtime"
  }
  component {
    type = "provisioner"
    name = "nodeimage-kubernetes"
    slug = "kubernetes"
  }
  component {
    type = "provisioner"
    name = "nodeimage-seal"
    slug = "seal"
  }
  component {
    type = "post-processor"
    name = "nodeimage-validate"
    slug = "validate"
  }
}
