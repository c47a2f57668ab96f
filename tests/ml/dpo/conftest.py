"""A tiny base to train."""

from tests.fixtures.training_base import base as base
from tests.fixtures.training_base import short_answers as short_answers
