"""A package registry of the test's own."""

from tests.fixtures.bases import gguf as gguf
from tests.fixtures.bases import index as index
from tests.fixtures.bases import tiny as tiny
