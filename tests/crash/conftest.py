"""A folder for what thousands of simulated accidents leave behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest


@pytest.fixture
def ram() -> Iterator[Path]:
    """On a RAM disk where there is one: what a killed process has written is the kernel's, whatever lies below."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    made = Path(mkdtemp(prefix="papertape-", dir=memory if memory.is_dir() else None))
    yield made
    shutil.rmtree(made)
