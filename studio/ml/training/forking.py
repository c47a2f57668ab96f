"""What a forked process may not do with torch."""

from __future__ import annotations


def cuda_spoiled_by_fork() -> bool:
    """Whether CUDA cannot be used in this process because its parent had touched it before forking.

    Importing a library can be enough (some ask for the card's capability at import), and torch then refuses CUDA in every
    child. Always False on a torch build without CUDA.
    """
    import torch

    return bool(torch.cuda._is_in_bad_fork())
