"""Which cell and which call is asking: the intent that nobody typed.

An order call in a notebook is told apart by the cell it stands in, by the spelling of the call in that
cell, and by how many times that call was made in this run of the cell. So running the cell again finds
the same order, while a loop places one order per pass.

- **The cell.** JupyterLab and Notebook send an id that stays with the cell (nbformat 4.5). VS Code sends a document
  address that may change and nbclient sends nothing: there the cell is its code, with comments, blank lines and
  quotes taken out, and cells with the same code are one cell, which is worth a warning.
- **The call.** The expression of the cell's own frame, the outermost one, that is being evaluated. It counts as
  spelled, not as evaluated: ``broker.buy(s, 100 / price)`` is the same call at any price. Under a cell magic such
  as ``%%time`` the whole body is the call.
- **The count.** Starts again with every run of the cell. ``subject`` (what is bought or sold) is counted apart,
  so a loop over symbols may change its order.

Threads, asyncio tasks and widget callbacks run beside the cell, in an order that no two runs share: there an order
must be named with ``key=``.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import linecache
import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Any

from kit.errors import UsageError
from kit.orders.ids import Intent

STABLE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What nbformat 4.5 allows as a cell id; VS Code's document addresses don't match."""

_IN_A_TASK = asyncio.Handle._run.__code__  # noqa: SLF001  # the frame below every callback and task step of a loop
_NAME_IT = "name it with key=…, so that running this again finds the same order; nothing was sent"


@dataclass
class Run:
    """One run of one cell."""

    cell_id: str | None
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    @property
    def stable(self) -> bool:
        return self.cell_id is not None and STABLE_ID.fullmatch(self.cell_id) is not None


class CellIdentity:
    """Follows an IPython shell's cells, from its making to its close, and answers for the intent of an order call."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._run: Run | None = None
        self._hashed: dict[str, Run] = {}
        """Cells known by their code alone: the first run that placed an order from it."""
        self._warned: set[str] = set()
        self._listeners = (("pre_run_cell", self._begin), ("post_run_cell", self._end))
        for event, listener in self._listeners:
            shell.events.register(event, listener)

    def close(self) -> None:
        """Follow the shell's cells no longer."""
        for event, listener in self._listeners:
            if listener in self._shell.events.callbacks[event]:
                self._shell.events.unregister(event, listener)

    def intent(self, subject: str = "") -> Intent:
        """The intent of the order call being made now.

        ``subject`` is counted apart from other subjects of the same call. Each call is one intent more in this run
        of the cell; ``refused`` takes it back. UsageError where no cell can answer for it.
        """
        frame = self._cell_frame()
        tree = _parsed(frame.f_code.co_filename)
        run = self._run = self._run or Run(self._running_cell_id())
        call = self._spelled(_asking(tree, frame))
        counted = (self._cell(run, tree), call, subject)
        ordinal = run.counts[counted]
        run.counts[counted] += 1
        return Intent(("cell", *counted, str(ordinal)), implicit=True)

    def refused(self, intent: Intent) -> None:
        """The order of ``intent`` was turned away before it was written down: the next try is the same intent."""
        counted, ordinal = intent.parts[1:-1], int(intent.parts[-1])
        if self._run is not None and self._run.counts[counted] == ordinal + 1:
            self._run.counts[counted] = ordinal

    # -- the cell -----------------------------------------------------------------------------------------------------

    def _begin(self, info: Any) -> None:
        if not self._cell_frames():  # a cell run from within a cell, as %%capture does, is part of it
            self._run = Run(info.cell_id)

    def _end(self, result: Any) -> None:
        if not self._cell_frames():
            self._run = None

    def _running_cell_id(self) -> str | None:
        """The id of a cell that began before this was installed: ipykernel keeps the message that started it."""
        message = self._shell.get_parent() if hasattr(self._shell, "get_parent") else {}
        cell_id = message.get("metadata", {}).get("cellId")
        return cell_id if isinstance(cell_id, str) else None

    def _cell(self, run: Run, tree: ast.Module) -> str:
        if run.stable:
            return f"id:{run.cell_id}"
        code = hashlib.sha256(self._spelled(tree).encode()).hexdigest()[:32]
        self._warn_if_merged(code, run)
        return f"code:{code}"

    def _warn_if_merged(self, code: str, run: Run) -> None:
        """Say once that this run and an earlier one count as one cell, unless the front end says they are one."""
        first = self._hashed.setdefault(code, run)
        known_to_be_one = first is run or (run.cell_id is not None and run.cell_id == first.cell_id)
        if known_to_be_one or code in self._warned:
            return
        self._warned.add(code)
        warnings.warn(
            f"a cell with the same code has ordered before (code {code[:8]}) and this front end does not tell cells "
            "apart, so this counts as running that cell again: it finds the order placed then; if another order is "
            "meant, give each its own key=… or say again=True",
            stacklevel=2,
        )

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

    def _spelled(self, node: ast.AST) -> str:
        """The code in one spelling: without comments, blank lines, positions or a choice of quotes."""
        return ast.unparse(_Unmagic(self._shell.transform_cell).visit(node))


class _Unmagic(ast.NodeTransformer):
    """Puts the code handed to a magic into the one spelling, too: IPython hands it over as text, comments and all."""

    def __init__(self, transform: Callable[[str], str]) -> None:
        self._transform = transform

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(
                func=ast.Attribute(attr="run_cell_magic" | "run_line_magic"), args=[*others, ast.Constant(str(body))]
            ):
                return ast.Call(node.func, [*others, ast.Constant(self._spelled(body))], node.keywords)
        return node

    def _spelled(self, body: str) -> str:
        try:
            return ast.unparse(self.visit(ast.parse(self._transform(body))))
        except SyntaxError:
            return body  # not Python: %%bash and its like


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
