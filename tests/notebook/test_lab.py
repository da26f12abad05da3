from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kit.errors import UsageError
from kit.notebook import lab


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kit that came as a wheel: its notebooks are inside the package."""
    package = tmp_path / "site-packages" / "kit"
    (package / "notebooks").mkdir(parents=True)
    (package / "notebooks" / "01_explore.ipynb").write_text("{}")
    monkeypatch.setattr(lab, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    return package


def test_a_checkout_opens_its_own_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_explore.ipynb").write_text("{}")
    monkeypatch.setattr(lab, "PACKAGE", tmp_path / "kit")
    assert lab.workplace(None) == tmp_path / "notebooks"


def test_an_installed_kit_opens_a_copy_and_leaves_a_changed_one_alone(installed: Path, tmp_path: Path) -> None:
    place = lab.workplace(None)
    assert place == tmp_path / "papertape-notebooks"
    (place / "01_explore.ipynb").write_text("mine")
    lab.workplace(None)
    assert (place / "01_explore.ipynb").read_text() == "mine"


def test_a_folder_of_ones_own_gets_the_notebooks(installed: Path, tmp_path: Path) -> None:
    assert (lab.workplace(tmp_path / "work") / "01_explore.ipynb").exists()


def test_jupyterlab_is_started_on_the_folder_with_its_own_options(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def call(command: list[str]) -> int:
        asked.append(command)
        return 3

    monkeypatch.setattr(subprocess, "call", call)
    assert lab.main(["--dir", str(tmp_path / "work"), "--no-browser", "--debug"]) == 3
    assert asked == [[sys.executable, "-m", "jupyterlab", "--no-browser", "--debug", str(tmp_path / "work")]]


def test_without_jupyterlab_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"papertape\[lab\]"):
        lab.main([])
