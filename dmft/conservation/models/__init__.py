"""Conservation laws of PyTorch models. Only this subpackage imports PyTorch, when it is used."""
