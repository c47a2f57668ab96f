"""Votes, pairs, chats and evaluations: the one floor that knows SQL. SQLite by default, PostgreSQL by URL.

``database.py`` opens, migrates and hands out transactions; ``tables.py`` is the schema as it is now; ``pairs.py``,
``raters.py``, ``domain/votes.py``, ``rules.py`` and ``evaluations.py`` are the queries: a connection in, frozen results out, no
transaction of their own. Whoever opens the transaction (``studio.services.rating.service``, ``studio.services.evaluations.service``) decides
what belongs together.
"""
