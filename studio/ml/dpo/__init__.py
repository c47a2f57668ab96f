"""Direct preference optimisation of a LoRA adapter."""
