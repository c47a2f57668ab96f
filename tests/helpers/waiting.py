"""Waiting for a condition instead of for a time, and for a coroutine wherever a test runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], object], timeout: float = 60.0, every: float = 0.05) -> None:
    """Poll ``condition`` until it is true; fail the test after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(every)
    pytest.fail(f"condition not met within {timeout} s")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """What ``coroutine`` returns, run in a thread of its own: Playwright leaves a running event loop in the tests'
    thread, whichever file came before."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()  # noqa: TID251
