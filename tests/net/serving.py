"""How the servers of tests end: with everything that they had begun."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import Server


async def end(server: Server) -> None:
    """Close it, and what came in while it closed: a client may be connecting again at that moment."""
    server.close()
    await server.wait_closed()
    late = asyncio.all_tasks() - {asyncio.current_task()}
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    await asyncio.sleep(0)  # the transports they had end in the next round
