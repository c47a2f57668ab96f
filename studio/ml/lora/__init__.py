"""LoRA layers: fused for training, mixed for answering with many adapters in one batch."""
