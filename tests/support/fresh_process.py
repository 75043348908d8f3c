"""A function in a process of its own, to compare what every process must find the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar
from unittest import mock

Result = TypeVar("Result")


def in_fresh_process(function: Callable[[], Result]) -> Result:
    """What a function of a module returns in a new interpreter, with another hash seed."""
    with (
        mock.patch.dict(os.environ, PYTHONHASHSEED="77"),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        return process.submit(function).result()
