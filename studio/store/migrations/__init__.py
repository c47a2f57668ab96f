"""Alembic's steps from an empty database to ``tables.py``, run by :meth:`studio.store.database.Database.migrate`."""
