from __future__ import annotations

import subprocess
import sys

import pytest

from kit.errors import UsageError
from kit.notebook import nest

NESTED = """
import asyncio, sys
from kit.notebook.nest import nest_asyncio

async def inner():
    async with asyncio.timeout(1):
        await asyncio.sleep(0)
    return 42

async def cell():
    return asyncio.run(inner())

nest_asyncio()
nest_asyncio()
print(asyncio.run(cell()))
"""


def run(code: str) -> str:
    """What a fresh interpreter prints: the patch would stay in this one."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_running_loop_can_run_another_coroutine() -> None:
    assert run(NESTED) == "42"


def test_importing_patches_nothing() -> None:
    assert run("import asyncio, kit.notebook; print(hasattr(asyncio, '_nest_patched'))") == "False"


def test_the_older_package_serves_where_it_still_works_and_the_other_is_missing() -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("nest-asyncio is refused from Python 3.14 on")
    hidden = (
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n: None if n.endswith('2') else find(n)\n"
    )
    assert run(hidden + NESTED + "print('nest_asyncio' in sys.modules)").split() == ["42", "True"]


def test_where_only_the_broken_package_is_left_it_is_refused_and_the_other_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nest, "find_spec", lambda name: object() if name == "nest_asyncio" else None)
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    with pytest.raises(UsageError, match="pip install"):
        nest.nest_asyncio()
