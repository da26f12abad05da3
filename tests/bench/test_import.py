"""``import kit`` costs no more than 1.3 times ``import pandas``: CPU seconds, best of several, side by side."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

MEASURE = (
    "import resource; import {}; used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"
)
HEAVY = (
    "plotly",
    "ipywidgets",
    "anywidget",
    "uvicorn",
    "starlette",
    "websockets",
    "pyarrow",
    "IPython",
    "cryptography",
)


def cost(module: str) -> float:
    told = subprocess.run([sys.executable, "-c", MEASURE.format(module)], capture_output=True, text=True, check=True)
    return float(told.stdout)


def test_import_kit_is_little_more_than_import_pandas() -> None:
    pandas, kit = zip(*((cost("pandas"), cost("kit")) for _ in range(10)), strict=True)
    ratio = min(kit) / min(pandas)
    print(f"\nimport pandas {min(pandas):.3f} s, import kit {min(kit):.3f} s: {ratio:.2f} x")
    assert ratio <= 1.3


def test_the_heavy_libraries_load_when_first_used() -> None:
    listing = f"import sys, kit; print([m for m in {HEAVY!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
