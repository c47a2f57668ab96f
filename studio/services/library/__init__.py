"""Adapters: upload, bundle, model card, rename, delete."""
