"""What must hold of a mirror where bars are folded from trades, and only the connection counts (Coinbase).

REST tells no bar without trades, and of the others neither how many there were nor what they were worth: so a bar
shows a count and a worth that are right, or none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence, Set
from math import isnan

import numpy as np

from kit.market.candles import Times, holes
from kit.model import Candle
from tests.sim.kraken_laws import KrakenWitness
from tests.sim.laws import Numbers, amounts
from tests.sim.network import Mute
from tests.sim.venue import LOT
from tests.sim.voice import Bar


class CoinbaseWitness(KrakenWitness):
    """Looks at bars by their volume; a hole must be the venue's own."""

    def _progress(self, bar: Candle) -> float:
        return bar.volume

    def _fresh_bar(self, since: int) -> None:
        ring, market = self.mirror.candles, self.market
        at = bisect_left(market.print_times, since) - 1
        if at < 0:
            return
        place, bar = market.bars_after[at]
        assert (ring.last_time or 0) >= market.opens(place), "LIVE, and a bar is missing"
        if ring.last_time == market.opens(place) and ring.forming is not None:
            assert ring.forming.volume >= bar[4] / LOT, "LIVE, and the forming bar stands still"

    def _compare_forming(self, bar: Candle) -> None:
        place = (bar.time - self.market.first_bar) // self.market.step
        its = self.market.version_by_volume(place, round(bar.volume * LOT))
        mine = bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume, bar.trades
        assert its is not None, f"the venue's bar never was {bar}"
        assert self._alike(mine, its), f"the forming bar is not the venue's: {mine} {its}"

    def _closed_bar(self, time: int, values: tuple[float, ...]) -> None:
        known = tuple(None if isnan(value) else value for value in values)
        assert self._finals.setdefault(time, known) == known, f"the bar {time} closed twice: {values}"
        place = (time - self.market.first_bar) // self.market.step
        assert place < len(self.market.finals), f"the bar {time} was closed before the venue closed it"
        its = self.market.finals[place]
        assert self._alike(values, its), f"the closed bar {time} is not the venue's: {values} {its}"

    def _alike(self, mine: tuple[float, ...], its: Bar) -> bool:
        true = amounts(its)
        worth, trades = mine[5:]
        return mine[:5] == true[:5] and (isnan(worth) or worth == true[5]) and trades in (0, its[6])

    def _in_order(self, times: Times) -> None:
        market = self.market
        steps = np.diff(times)
        assert (steps > 0).all(), "bars are out of order"
        for at in np.flatnonzero(steps != market.step).tolist():
            first, after = ((int(time) - market.first_bar) // market.step for time in times[at : at + 2])
            missing = [place for place in range(first + 1, after) if market.finals[place][6]]
            assert not missing, f"bars {[market.opens(place) for place in missing]} are missing, and have trades"

    def _finish_holes(self) -> None:
        ring = self.mirror.candles
        if len(ring.times) and ring.last_time is not None:
            true = holes(ring.times, self.market.interval, int(ring.times[0]), ring.last_time)
            assert self.mirror.holes == true, f"the holes are not those of the bars: {self.mirror.holes} {true}"

    def _finish_bar(self, forming: Candle) -> None:
        assert forming.volume == self.market.bar[4] / LOT, f"the last bar is behind: {forming}"

    def unseeable(self, lost: Set[int], mutes: Sequence[Mute], taken: Numbers) -> Numbers:
        """Nothing: the connection counts its frames."""
        return set()
