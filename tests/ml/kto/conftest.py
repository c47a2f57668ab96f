"""A tiny base to train."""

from tests.fixtures.training_base import base as base
