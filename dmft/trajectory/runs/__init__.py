"""What a training run left on disk: which files, which step each is, which tensors it holds."""
