"""Stores of either kind."""

from tests.fixtures.store import rating as rating
from tests.fixtures.store import store_url as store_url
