"""The tutorial runs from top to bottom, and again, and what is kept in it is what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import nbformat
import pytest

from kit.sandbox.home import Address
from tests.notebooks import execute
from tests.notebooks.execute import Notebook

PATHS = execute.paths()
MOST_BYTES = 1_500_000
AT_ONCE = 3
"""Kernels at work at the same time: enough to wait together, few enough for two cores."""
KEY = re.compile(r"\b[A-Za-z0-9]{64}\b")
"""What keys and secrets look like, at the sandbox as at Binance."""

STILL_OPEN = """
from kit.runtime import runtime
print([named for named in runtime._running if named[0] in ("Broker", "Live", "Session", "Venue")])
"""

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(notebook: Notebook) -> dict[str, Notebook]:
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def outputs(notebook: Notebook) -> Iterator[Notebook]:
    for cell in code_cells(notebook).values():
        yield from cell.outputs


def words(notebook: Notebook) -> str:
    """Everything a person can read in it, outputs included; pictures and figures are left out."""
    told = [cell.source for cell in notebook.cells]
    for output in outputs(notebook):
        told.append(output.get("text", ""))
        told += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return re.sub(r'src="data:[^"]*"', "", "\n".join(told))


def test_there_are_five() -> None:
    assert [path.stem for path in PATHS] == [
        "01_explore",
        "02_live",
        "03_prototype",
        "04_paper_trade",
        "05_when_things_break",
    ]


@dataclass
class Ran:
    """A notebook that was run twice, and the secrets that were about meanwhile."""

    notebook: Notebook
    secrets: set[str] = field(default_factory=set)

    @classmethod
    def twice(cls, path: Path, home: Path) -> Ran:
        ran = cls(execute.read(path))
        last = nbformat.v4.new_code_cell(STILL_OPEN, id="open-still")  # type: ignore[no-untyped-call] # no types
        ran.notebook.cells.append(last)
        execute.run(ran.notebook, home, passes=2, each=lambda: ran.secrets.update(keys_in(home)))
        return ran


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Future[Ran]]]:
    """The notebooks' runs, side by side: most of the time each waits for the market. The last one is the longest."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE, "notebook") as pool:
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        yield {path: pool.submit(Ran.twice, path, tmp_path_factory.mktemp(path.stem)) for path in reversed(PATHS)}


@each
def test_it_runs_twice_from_top_to_bottom_shows_what_is_kept_and_leaves_nothing_open(
    path: Path, runs: dict[Path, Future[Ran]]
) -> None:
    kept, done = execute.read(path), runs[path].result()
    ran, secrets = done.notebook, done.secrets
    assert ran.cells.pop().outputs[0].text == "[]\n"
    assert [output for output in outputs(ran) if output.output_type == "error" or output.get("name") == "stderr"] == []
    shows = {name for name, cell in code_cells(ran).items() if cell.outputs}
    assert shows == {name for name, cell in code_cells(kept).items() if cell.outputs}
    assert secrets
    assert [secret for secret in secrets if secret in json.dumps(ran)] == []


def keys_in(home: Path) -> Iterator[str]:
    """The keys and secrets of the sandboxes that run in ``home``."""
    for file in home.glob("sandbox/*/running.json"):
        address = msgspec.json.decode(file.read_bytes(), type=Address)
        yield from (address.key, address.secret)


@each
def test_what_is_kept_reads_without_a_kernel(path: Path) -> None:
    kept = execute.read(path)
    assert path.stat().st_size < MOST_BYTES
    assert (kept.nbformat, kept.nbformat_minor, kept.metadata) == (4, 5, execute.METADATA)
    assert all(set(cell.metadata) <= {"tags"} for cell in kept.cells)
    for output in outputs(kept):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        shown = set(output.get("data", {"text/plain"}))
        assert execute.WIDGET not in shown
        assert shown & {"text/plain", "text/html", "image/png"}
    assert KEY.findall(words(kept)) == []


def test_a_cell_run_again_returns_the_same_order_and_says_so() -> None:
    kept = execute.read(execute.FOLDER / "04_paper_trade.ipynb")
    twice = [cell for cell in kept.cells if execute.RUN_TWICE in cell.metadata.get("tags", ())]
    assert [cell.id for cell in twice] == ["buy"]
    assert "the same order" in twice[0].outputs[0].data["text/plain"]


def test_the_tutorial_begins_by_saying_what_it_is_not() -> None:
    first = execute.read(PATHS[0]).cells[0].source
    assert "For education and research; no advice. Simulated results promise nothing." in first
