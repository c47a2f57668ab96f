"""Kahneman-Tversky optimisation of a LoRA adapter on single answers with a thumb."""
