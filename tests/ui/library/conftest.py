"""Fixtures of the Library tab: its base is a tiny one."""

from tests.fixtures.library import adapter as adapter
from tests.fixtures.library import embedded as embedded
from tests.fixtures.library import settings as settings
