"""The whole of live data against a simulated venue, network and clock: safe at every step, and right in the end.

``KIT_SIM_SEEDS=first:after`` chooses the seeds of the soak, ``KIT_SIM_SEED=n`` replays one and prints its log, and
``KIT_SIM_VENUE`` says at which venue (binance, kraken, coinbase).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from kit.clock import SECOND
from kit.market import candle_strand, trade_strand
from kit.net import history, inquiry
from tests.planting import Plant
from tests.sim.binance_voice import SimBinance
from tests.sim.bugs import BUGS
from tests.sim.coinbase_voice import CoinbaseVoice
from tests.sim.faults import Mix
from tests.sim.kraken_voice import KrakenVoice
from tests.sim.voice import Voice
from tests.sim.world import BINANCE, World

SEEDS, FEW_SEEDS = 300, 40
KRAKEN, COINBASE = KrakenVoice(), CoinbaseVoice()
VOICES: dict[str, Voice] = {"binance": BINANCE, "kraken": KRAKEN, "coinbase": COINBASE}
CHUNK = 10
"""Seeds in one test: a report of 300 dots helps nobody."""
ENOUGH = 40
"""Seeds within which a planted bug must show."""
TAIL = 40


def lived(seed: int, mix: Mix | None = None, levels: int | None = None, voice: Voice = BINANCE) -> World:
    """The world of a seed, lived through. A failure says how to see it again, and how it came about."""
    world = World(seed, voice, mix=mix, levels=levels)
    try:
        return world.run()
    except Exception as error:
        told = [
            f"seed {seed}: {error}",
            f"replay: KIT_SIM_VENUE={voice.codec.name} KIT_SIM_SEED={seed} pytest tests/sim -k replayed -s",
            f"troubles: {'; '.join(world.mix.words())}",
            *map(str, world.log[-TAIL:]),
        ]
        raise AssertionError("\n".join(told)) from error


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_it_is_safe_at_every_step_and_right_in_the_end(first: int) -> None:
    for seed in range(first, first + CHUNK):
        lived(seed)


@pytest.mark.parametrize("first", range(0, FEW_SEEDS, CHUNK))
def test_a_venue_of_other_habits_is_followed_just_as_safely(first: int) -> None:
    """Kraken: the book comes in the stream and is proven by checksums, nobody says that a bar is closed."""
    for seed in range(first, first + CHUNK):
        lived(seed, voice=KRAKEN)


@pytest.mark.parametrize("first", range(0, FEW_SEEDS, CHUNK))
def test_a_venue_that_counts_frames_only_and_streams_no_bars_is_followed_just_as_safely(first: int) -> None:
    """Coinbase: one lost frame costs all that its connection carries, and bars are folded from trades."""
    for seed in range(first, first + CHUNK):
        lived(seed, voice=COINBASE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
def test_the_same_seed_tells_the_same_story(voice: Voice, seed: int) -> None:
    assert lived(seed, voice=voice).digest() == lived(seed, voice=voice).digest()


@pytest.mark.parametrize("seed", range(12))
def test_after_a_storm_the_frames_are_those_of_an_undisturbed_run(seed: int) -> None:
    disturbed = lived(seed)
    calm = World(seed, mix=Mix())
    calm.begin()
    calm.live_until(disturbed.halted)
    calm.settle()
    for native, seat in disturbed.seats.items():
        seat.witness.compare(calm.seats[native].witness)


FAREWELLS = [(second * SECOND, "goodbye") for second in (8, 31)]
ROTATIONS = (
    Mix(lifetime=25.0),
    Mix(notice=6.0, plan=FAREWELLS),
    Mix(lifetime=25.0, notice=6.0, plan=FAREWELLS, twice=0.05, late_copy=0.05),
)


def handed_over(seed: int) -> None:
    """Connections end as the venue has said they would: there is no gap, and nobody notices."""
    world = lived(seed, ROTATIONS[seed % len(ROTATIONS)], 1000)
    assert world.supervisor.handovers >= 1, "no connection was replaced"
    assert [entry for entry in world.log if entry[1] == "down"] == []
    for native, seat in world.seats.items():
        assert seat.mirror.gaps == (), f"{native} lost something: {seat.mirror.gaps}"


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_missed_when_connections_are_replaced(seed: int) -> None:
    handed_over(seed)


@pytest.mark.parametrize("seed", range(300, 312))
def test_what_needs_many_pages_is_read_page_by_page(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trade_strand, candle_strand, inquiry, history):
        monkeypatch.setattr(module, "PAGE", 15)
    monkeypatch.setattr(SimBinance, "past", replace(SimBinance.past, candles=15, trades=15))
    lived(seed)


TROUBLED = ((2, "refuse"), (6, "cut"), (15, "outage"), (30, "refuse"), (33, "goodbye"), (40, "hang"), (46, "mute"))
ROUGH = Mix(unanswered=0.3, refused=0.3, plan=[(second * SECOND, kind) for second, kind in TROUBLED])
"""A mix that is hard on connections."""


TRIALS: dict[str, Callable[[int], object]] = {
    "storm": lived,
    "rough": lambda seed: lived(seed, ROUGH),
    "handover": handed_over,
    "coinbase": lambda seed: lived(seed, voice=COINBASE),
}


@pytest.mark.parametrize(("plant", "show"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_is_caught(plant: Plant, show: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    seen = (wrong(TRIALS[show], seed) for seed in range(ENOUGH))
    caught = next(filter(None, seen), None)
    assert caught is not None, f"{plant.__name__} went unnoticed for {ENOUGH} seeds: the laws are too weak"
    print(f"\n{plant.__name__}: {caught.partition(chr(10))[0][:160]}")


def wrong(trial: Callable[[int], object], seed: int) -> str:
    """What is wrong with a seed; nothing when nothing is."""
    try:
        trial(seed)
    except AssertionError as error:
        return str(error)
    return ""


def soaked(seed: int) -> str:
    """For other processes: what is wrong with a seed."""
    voice = VOICES[os.environ.get("KIT_SIM_VENUE", "binance")]
    return wrong(lambda seed: lived(seed, voice=voice), seed)


# -- by hand


def chosen() -> Iterator[int]:
    first, _, after = os.environ.get("KIT_SIM_SEEDS", "0:10000").partition(":")
    return iter(range(int(first), int(after)))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_seeds() -> None:
    seeds, began = list(chosen()), time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        bad = [words for words in pool.map(soaked, seeds, chunksize=25) if words]
    print(f"\n{len(seeds)} seeds ({seeds[0]} to {seeds[-1]}), {len(bad)} wrong, {time.monotonic() - began:.0f} s")
    assert not bad, f"{len(bad)} of {len(seeds)} seeds are wrong; the first:\n" + "\n\n".join(bad[:3])


@pytest.mark.skipif("KIT_SIM_SEED" not in os.environ, reason="KIT_SIM_SEED names the seed to replay")
def test_one_seed_replayed() -> None:
    world = lived(int(os.environ["KIT_SIM_SEED"]), voice=VOICES[os.environ.get("KIT_SIM_VENUE", "binance")])
    print("\n".join(map(str, world.log)))
