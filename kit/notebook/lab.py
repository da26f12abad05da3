"""``kit lab``: JupyterLab on the notebooks that come with the kit."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from kit.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent


def notebooks() -> Path | None:
    """Where the notebooks are: beside the package in a checkout, inside it when it came as a wheel."""
    candidates = (PACKAGE.parent / "notebooks", PACKAGE / "notebooks")
    return next((folder for folder in candidates if any(folder.glob("*.ipynb"))), None)


def workplace(wanted: Path | None) -> Path:
    """The folder to open: a checkout's own notebooks, or a copy of them in ``wanted``.

    Without ``wanted`` an installed kit copies to ``papertape-notebooks`` in the current folder. A notebook that is
    already there is left as it is.
    """
    source = notebooks()
    if wanted is None and (source is None or source.parent == PACKAGE.parent):
        return source or Path.cwd()
    place = (wanted or Path("papertape-notebooks")).resolve()
    place.mkdir(parents=True, exist_ok=True)
    for notebook in source.glob("*.ipynb") if source else ():
        if not (place / notebook.name).exists():
            shutil.copy(notebook, place)
    return place


def main(arguments: Sequence[str]) -> int:
    """Open JupyterLab; options it does not know go to JupyterLab. UsageError when JupyterLab is not installed."""
    parser = argparse.ArgumentParser(
        prog="kit lab", description="JupyterLab on the kit's notebooks.", allow_abbrev=False
    )
    parser.add_argument("--dir", type=Path, help="work on a copy of the notebooks in this folder")
    given, passed_on = parser.parse_known_args(arguments)
    if find_spec("jupyterlab") is None:
        raise UsageError('JupyterLab is not installed here; install it with: pip install "papertape[lab]"')
    command = [sys.executable, "-m", "jupyterlab", *passed_on, str(workplace(given.dir))]
    return subprocess.call(command)  # noqa: S603  # the command line of the person who typed it
