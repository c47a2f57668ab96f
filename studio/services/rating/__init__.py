"""Serving blind pairs to raters and keeping their votes."""
