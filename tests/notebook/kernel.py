"""A real kernel, spoken to as front ends speak to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 60
"""Seconds that a cell, or a kernel's start, may take."""


class CellFailed(Exception):
    """A cell raised; the text is its traceback."""


class Kernel:
    """A kernel of its own with the kit in it, its data in ``home``."""

    def __init__(self, home: Path, **env: str) -> None:
        self.manager = KernelManager()
        places = {"PYTHONPATH": str(ROOT), "PAPERTAPE_HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
        self.manager.start_kernel(env=os.environ | places | env)
        self._client = self._connected()

    def _connected(self) -> BlockingKernelClient:
        client = self.manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=LONGEST)
        return client

    def run(self, code: str, metadata: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Run a cell and return what it displays, by MIME type; ``stream`` is what it printed. Raises CellFailed."""
        message = self._client.session.msg("execute_request", {"code": code, "silent": False, "store_history": True})
        message["metadata"] = dict(metadata or {})
        self._client.shell_channel.send(message)
        shown: dict[str, Any] = {"stream": ""}
        failed: list[str] = []
        while True:
            answer = self._client.get_iopub_msg(timeout=LONGEST)
            if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            kind, content = answer["msg_type"], answer["content"]
            if kind == "error":
                failed = content["traceback"]
            elif kind == "stream":
                shown["stream"] += content["text"]
            elif kind in {"execute_result", "display_data"}:
                shown |= content["data"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        if failed:
            raise CellFailed("\n".join(failed))
        return shown

    def restart(self) -> None:
        """Kill it and begin anew: nothing is left but what is on disk."""
        self._client.stop_channels()
        self.manager.restart_kernel(now=True)
        self._client = self._connected()

    def close(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()
