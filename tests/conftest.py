"""What every room's tests share: a home of their own, the repository's root, the shared recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import kit
from kit.sandbox import launcher
from kit.sandbox.launcher import Handle
from kit.venues.binance import BINANCE

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS = ROOT.parent / "shared" / "recordings"

# Shared CI machines pause for whole seconds: a deadline per example would test the machine.
settings.register_profile("kit", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("kit")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder for this test alone, and no key of the person who runs it."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PAPERTAPE_HOME", str(path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("PAPERTAPE_ENV_FILE", os.devnull)
    return path


@pytest.fixture(scope="session")
def recording() -> object:
    """``recording(name)`` is the path of a shared recording; without it the test is skipped and says so."""

    def find(name: str) -> Path:
        path = RECORDINGS / name
        if not path.exists():
            pytest.skip(f"no {path}: the shared recordings are not beside this checkout")
        return path

    return find


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """A sandbox process that all tests share; a test that breaks one starts its own."""
    yield from _running("shared-by-tests", tmp_path_factory)


@pytest.fixture(scope="module")
def own_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """A sandbox process for one file of tests: what that asks too much of is nobody else's."""
    yield from _running("of-its-own", tmp_path_factory)


def _running(name: str, homes: pytest.TempPathFactory) -> Iterator[Handle]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(homes.mktemp(name)))
        handle = launcher.ensure(name, seed=7)
    yield handle
    handle.stop()


@pytest.fixture(scope="module")
def sandbox_venue(shared_sandbox: Handle) -> Iterator[kit.Venue]:
    """A venue on the shared sandbox, for one file of tests."""
    venue = kit.Venue(BINANCE, "sandbox", shared_sandbox.hosts, key=shared_sandbox.key, sandbox=shared_sandbox)
    yield venue
    venue.close()
