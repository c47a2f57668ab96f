"""The trainer process and the run it carries out."""
