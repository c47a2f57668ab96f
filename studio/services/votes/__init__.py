"""What the votes say; votes out and in."""
