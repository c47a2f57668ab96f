"""The commands of ``python -m studio``, one module a theme: each has ``add(commands)``, which registers its own."""
