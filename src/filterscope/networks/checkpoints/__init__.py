"""Checkpoints read as data: what torch.save and safetensors wrote, without code of theirs being run."""
