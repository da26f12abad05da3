"""``python -m kit.sandbox``: the same as ``kit sandbox``."""

from __future__ import annotations

import sys

from kit.sandbox.server import main

sys.exit(main())
