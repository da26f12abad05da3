"""Which cell and which call is asking: the intent that nobody typed.

An order call in a notebook is told apart by the cell it stands in, by the spelling of the call in that
cell, and by how many times that call was made in this run of the cell. So running the cell again finds
the same order, while a loop places one order per pass.

- **The cell.** JupyterLab and Notebook send an id that stays with the cell where the notebook keeps it (nbformat 4.5):
  a cell that is moved, cut and pasted or edited stays the cell, a copy is another one. VS Code sends a document
  address that may change, nbclient sends nothing, and in an older notebook JupyterLab makes ids up each time it opens
  it: there the cell is its code (``spelling``), so an edited cell is another one, and cells with the same code are one
  cell, which is worth a warning.
- **The call.** The expression of the cell's own frame, the outermost one, that is being evaluated. It counts as
  spelled, not as evaluated: ``broker.buy(s, 100 / price)`` is the same call at any price, and with another number
  typed into it, it is another call. Under a cell magic such as ``%%time`` the whole body is the call.
- **The count.** Starts again with every run of the cell. ``subject`` (what is bought or sold) is counted apart,
  so a loop over symbols may change its order. A try that was refused does not count, so a loop that tries until it
  succeeds has one intent; if the next try asks for something else, nothing tells the two apart and it is refused.

Threads, asyncio tasks and widget callbacks run beside the cell, in an order that no two runs share: there an order
must be named with ``key=``.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import json
import linecache
import os
import re
import threading
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from kit.errors import UsageError
from kit.notebook.spelling import spelled
from kit.orders.ids import Intent

STABLE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What nbformat 4.5 allows as a cell id; VS Code's document addresses don't match."""

_IN_A_TASK = asyncio.Handle._run.__code__  # noqa: SLF001  # the frame below every callback and task step of a loop
_NAME_IT = "name it with key=…, so that running this again finds the same order; nothing was sent"


@dataclass
class Run:
    """One run of one cell."""

    cell_id: str | None
    calls: dict[tuple[CodeType, int], tuple[str, str]] = field(default_factory=dict)
    """What has been read of the code already: a loop asks at every pass."""
    _counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _refused: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Calls whose last try was turned away, and what it asked for."""
    _asked: dict[tuple[str, ...], str] = field(default_factory=dict)

    def ordinal(self, call: tuple[str, ...], terms: str) -> int:
        """How many times ``call`` was made before in this run. UsageError if it is unsure what a refused one was."""
        refused = self._refused.get(call, terms)
        if refused != terms:
            raise UsageError(
                f"this call was refused when it asked for {refused}, and now it asks for {terms}: nothing tells "
                "another try of that order from the next order, so running the cell again could place one twice; "
                f"{_NAME_IT}"
            )
        self._refused.pop(call, None)
        self._asked[call] = terms
        self._counts[call] += 1
        return self._counts[call] - 1

    def take_back(self, call: tuple[str, ...], ordinal: int) -> None:
        """The last of these calls came to nothing: the next one is another try."""
        if self._counts[call] == ordinal + 1:
            self._counts[call] = ordinal
            self._refused[call] = self._asked[call]


class _OfThisThread(threading.local):
    """The run of the cell on this thread: a kernel's subshells run cells side by side."""

    run: Run | None = None


class CellIdentity:
    """Follows an IPython shell's cells, from its making to its close, and answers for the intent of an order call."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._on = _OfThisThread()
        self._hashed: dict[str, Run] = {}
        """Cells known by their code alone: the first run that placed an order from it."""
        self._warned: set[str] = set()
        self._called: dict[tuple[str, str], str] = {}
        """The same cells' calls by address, as long as it lasts: the code that they stood in."""
        self._listeners = (("pre_run_cell", self._begin), ("post_run_cell", self._end))
        for event, listener in self._listeners:
            shell.events.register(event, listener)

    def close(self) -> None:
        """Follow the shell's cells no longer."""
        for event, listener in self._listeners:
            if listener in self._shell.events.callbacks[event]:
                self._shell.events.unregister(event, listener)

    def intent(self, subject: str = "", terms: str = "") -> Intent:
        """The intent of the order call being made now.

        ``subject`` is counted apart from other subjects of the same call; ``terms`` says all that is asked for. Each
        call is one intent more in this run of the cell; ``refused`` takes it back. UsageError where no cell can answer
        for it.
        """
        frame = self._cell_frame()
        run = self._on.run = self._on.run or Run(self._running_cell_id())
        instruction = (frame.f_code, frame.f_lasti)
        if instruction not in run.calls:
            run.calls[instruction] = self._call(run, frame)
        counted = (*run.calls[instruction], subject)
        return Intent(("cell", *counted, str(run.ordinal(counted, terms))), implicit=True)

    def refused(self, intent: Intent) -> None:
        """The order of ``intent`` was turned away before it was written down: the next try is the same intent."""
        if self._on.run is not None:
            self._on.run.take_back(intent.parts[1:-1], int(intent.parts[-1]))

    def _call(self, run: Run, frame: FrameType) -> tuple[str, str]:
        """The cell, and the call in it that ``frame`` is evaluating."""
        tree = _parsed(frame.f_code.co_filename)
        call = spelled(_asking(tree, frame), self._shell.transform_cell)
        if run.cell_id is not None and STABLE_ID.fullmatch(run.cell_id) and self._keeps_ids:
            return f"id:{run.cell_id}", call
        code = hashlib.sha256(spelled(tree, self._shell.transform_cell).encode()).hexdigest()[:32]
        self._warn_if_merged(code, run, frame)
        self._warn_if_edited(code, call, run, frame)
        return f"code:{code}", call

    # -- the cell -----------------------------------------------------------------------------------------------------

    def _begin(self, info: Any) -> None:
        if not self._cell_frames():  # a cell run from within a cell, as %%capture does, is part of it
            self._on.run = Run(info.cell_id)

    def _end(self, result: Any) -> None:
        if not self._cell_frames():
            self._on.run = None

    def _running_cell_id(self) -> str | None:
        """The id of a cell that began before this was installed: ipykernel keeps the message that started it."""
        message = self._shell.get_parent() if hasattr(self._shell, "get_parent") else {}
        cell_id = message.get("metadata", {}).get("cellId")
        return cell_id if isinstance(cell_id, str) else None

    @cached_property
    def _keeps_ids(self) -> bool:
        """Asked once, so that a notebook saved in another format meanwhile has its cells as they were."""
        path = os.environ.get("JPY_SESSION_NAME")  # as Jupyter's server tells it
        return not path or keeps_ids(Path(path))

    def _warn_if_merged(self, code: str, run: Run, frame: FrameType) -> None:
        """Say once that this run and an earlier one count as one cell, unless the front end says they are one."""
        first = self._hashed.setdefault(code, run)
        known_to_be_one = first is run or (run.cell_id is not None and run.cell_id == first.cell_id)
        if known_to_be_one or code in self._warned:
            return
        self._warned.add(code)
        _warn(
            f"a cell with the same code has ordered before, and {self._why}: this counts as running that cell again "
            "and finds the order placed then. If another order is meant, give each its own key=… (or say again=True: "
            "one more each time this runs)",
            frame,
        )

    def _warn_if_edited(self, code: str, call: str, run: Run, frame: FrameType) -> None:
        """Say that this call has ordered already, in the cell as it was before it was edited."""
        if run.cell_id is None:
            return
        before = self._called.get((run.cell_id, call), code)
        self._called[run.cell_id, call] = code
        if before != code:
            _warn(
                f"this cell was edited since it ordered, and {self._why}: it counts as another cell, so its orders are "
                "placed once more. With key=… an order stays the same order whatever becomes of its cell",
                frame,
            )

    @property
    def _why(self) -> str:
        if self._keeps_ids:
            return "this front end does not tell cells apart"
        return "this notebook's format (before nbformat 4.5) keeps no cell ids"

    # -- the call -----------------------------------------------------------------------------------------------------

    def _cell_frames(self) -> list[FrameType]:
        """This thread's frames that run a cell's own lines, innermost first."""
        return [frame for frame in _stack() if self._is_cell(frame)]

    def _is_cell(self, frame: FrameType) -> bool:
        return frame.f_globals is self._shell.user_global_ns and frame.f_code.co_name == "<module>"

    def _cell_frame(self) -> FrameType:
        """The outermost frame of the cell that is running on this thread, if nothing but plain calls lies between."""
        cell: FrameType | None = None
        tasks = tasks_inside = 0
        for frame in _stack():
            if self._is_cell(frame):
                cell, tasks_inside = frame, tasks
            tasks += frame.f_code is _IN_A_TASK
        if cell is None:
            raise UsageError(
                "this order is placed beside the cells (by a thread, a task or a button), where nothing tells a "
                f"second run from a second order: {_NAME_IT}"
            )
        if tasks_inside:
            raise UsageError(
                "this order is placed by an asyncio task, whose turn differs from run to run, so the cell can't "
                f"answer for it: {_NAME_IT}"
            )
        return cell


def _warn(text: str, frame: FrameType) -> None:
    """A warning about the line of the cell that is being evaluated."""
    warnings.warn_explicit(text, UserWarning, frame.f_code.co_filename, frame.f_lineno)


def _stack() -> list[FrameType]:
    """This thread's frames, innermost first."""
    frames = []
    frame = inspect.currentframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _parsed(filename: str) -> ast.Module:
    """The code of a cell, as IPython compiled it: it keeps the text for tracebacks."""
    text = "".join(linecache.getlines(filename))
    if not text:
        raise UsageError(f"the code of the running cell can't be read, so it can't answer for this order: {_NAME_IT}")
    return ast.parse(text)


def keeps_ids(notebook: Path) -> bool:
    """Whether a notebook's file keeps its cells' ids (nbformat 4.5); one that can't be read is taken to."""
    try:
        told = json.loads(notebook.read_bytes())
        return bool((told["nbformat"], told["nbformat_minor"]) >= (4, 5))
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _asking(tree: ast.Module, frame: FrameType) -> ast.AST:
    """The smallest piece of ``tree`` that holds what ``frame`` is evaluating (PEP 657 positions)."""
    position = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    line, end_line, column, end_column = position
    nodes: list[ast.expr | ast.stmt] = [n for n in ast.walk(tree) if isinstance(n, ast.expr | ast.stmt)]
    holding: list[ast.expr | ast.stmt]
    if line is None or end_line is None or column is None or end_column is None:  # python -X no_debug_ranges
        line = frame.f_lineno
        holding = [n for n in nodes if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or line)]
    else:
        begin, end = (line, column), (end_line, end_column)
        holding = [n for n in nodes if (n.lineno, n.col_offset) <= begin and end <= (n.end_lineno, n.end_col_offset)]
    return holding[-1] if holding else tree  # the walk goes outside in, and what holds the position is nested
