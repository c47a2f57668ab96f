"""Fixtures of what comes into and leaves the studio."""

from tests.fixtures.library import adapter as adapter
from tests.fixtures.library import embedded as embedded
from tests.fixtures.library import hub as hub
from tests.fixtures.library import library as library
from tests.fixtures.library import settings as settings
