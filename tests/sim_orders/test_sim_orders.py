"""The order path against a simulated venue of each contract: safe at every step, and right in the end.

``KIT_SIM_SEEDS=first:after`` chooses the seeds of the soak, ``KIT_SIM_SEED=n`` replays one and prints its log, and
``KIT_SIM_VENUE`` says under which contract (binance, coinbase, kraken, alpaca, binance-wire).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from kit.broker import ledger
from kit.clock import SECOND
from kit.venues.contract import CONTRACTS
from tests.planting import Plant
from tests.sim_orders.binance_voice import BinanceVoice
from tests.sim_orders.bugs import BUGS
from tests.sim_orders.faults import Mix
from tests.sim_orders.market import NATIVES
from tests.sim_orders.voice import PlainVoice, Voice
from tests.sim_orders.world import World

VOICES: dict[str, Voice] = {name: PlainVoice(name, contract) for name, contract in CONTRACTS.items()}
VOICES["binance-wire"] = BinanceVoice(NATIVES)
SEEDS = 60
"""For each venue."""
CHUNK = 10
ENOUGH = 25
"""Seeds at each venue within which a planted bug must show."""
TAIL = 60
CHECKPOINT = 9
"""Entries from one checkpoint of the journal to the next: few, so that every life has some."""
MEMORY = Path("/dev/shm")  # noqa: S108 - files of a second's life, on a disk that is none


def lived(seed: int, voice: Voice, mix: Mix | None = None) -> World:
    """The world of a seed, lived through. A failure says how to see it again, and how it came about."""
    disk = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.exists() else None)
    with disk as folder, mock.patch.object(ledger, "EVERY", CHECKPOINT):
        world = World(seed, voice, Path(folder), mix=mix)
        try:
            return world.run()
        except Exception as error:
            name = next(name for name, known in VOICES.items() if known is voice)
            told = [
                f"{name} seed {seed}: {type(error).__name__}: {error}",
                f"replay: KIT_SIM_VENUE={name} KIT_SIM_SEED={seed} pytest tests/sim_orders -k replayed -s",
                f"troubles: {'; '.join(world.mix.words())}",
                *map(str, world.log[-TAIL:]),
            ]
            raise AssertionError("\n".join(told)) from error
        finally:
            world.close()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
def test_whatever_happens_it_is_safe_at_every_step_and_right_in_the_end(voice: Voice, first: int) -> None:
    for seed in range(first, first + CHUNK):
        lived(seed, voice)


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
def test_the_same_seed_tells_the_same_story(voice: Voice) -> None:
    assert lived(7, voice).digest() == lived(7, voice).digest()


def _each(seconds: int, kind: str) -> list[tuple[int, str]]:
    return [(second * SECOND, kind) for second in range(seconds - 1, 60, seconds)]


TRIALS: dict[str, Mix | None] = {
    "storm": None,
    "slow": Mix(slow=3.0, lag=0.5, despite=0.9, plan=sorted(_each(4, "place") + _each(10, "crash"))),
    "hands": Mix(
        unsent=0.5,
        despite=0.5,
        plan=sorted(
            _each(3, "place") + _each(7, "foreign") + _each(9, "halt") + _each(11, "outage") + _each(13, "crash")
        ),
    ),
    "silent": Mix(mute=3.0, limited=1.5, unsent=0.5, lag=0.5, report_lost=0.9, despite=0.9, plan=_each(4, "place")),
}
"""What a planted bug is tried with: the seed's own mix, or one that is hard in one way."""


@pytest.mark.parametrize(("plant", "show"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_is_caught(plant: Plant, show: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    tasks = ((name, seed) for seed in range(ENOUGH) for name in VOICES)
    caught = next(filter(None, (wrong(name, seed, TRIALS[show]) for name, seed in tasks)), None)
    assert caught is not None, f"{plant.__name__} went unnoticed for {ENOUGH} seeds: the laws are too weak"
    print(f"\n{plant.__name__}: {caught.partition(chr(10))[0][:160]}")


@pytest.mark.parametrize("show", TRIALS)
def test_without_a_planted_bug_the_trials_are_passed(show: str) -> None:
    for voice in VOICES.values():
        lived(1, voice, TRIALS[show])


def wrong(name: str, seed: int, mix: Mix | None = None) -> str:
    """What is wrong with a seed; nothing when nothing is."""
    try:
        lived(seed, VOICES[name], mix)
    except AssertionError as error:
        return str(error)
    return ""


# -- by hand


def soaked(task: tuple[str, int]) -> str:
    """For other processes."""
    return wrong(*task)


def _printed(words: str) -> str:
    """Tell of a wrong seed while the others go on."""
    if words:
        print(words.partition("\n")[0], flush=True)
    return words


def chosen() -> Iterator[tuple[str, int]]:
    """Seeds, spread over the venues."""
    first, _, after = os.environ.get("KIT_SIM_SEEDS", "0:10000").partition(":")
    names = [os.environ["KIT_SIM_VENUE"]] if "KIT_SIM_VENUE" in os.environ else list(VOICES)
    return ((names[seed % len(names)], seed) for seed in range(int(first), int(after)))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_seeds() -> None:
    tasks, began = list(chosen()), time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        bad = list(filter(_printed, pool.map(soaked, tasks, chunksize=25)))
    spent = time.monotonic() - began
    print(f"\n{len(tasks)} seeds ({tasks[0][1]} to {tasks[-1][1]}), {len(bad)} wrong, {spent:.0f} s")
    assert not bad, f"{len(bad)} of {len(tasks)} seeds are wrong; the first:\n" + "\n\n".join(bad[:3])


@pytest.mark.skipif("KIT_SIM_SEED" not in os.environ, reason="KIT_SIM_SEED names the seed to replay")
def test_one_seed_replayed() -> None:
    world = lived(int(os.environ["KIT_SIM_SEED"]), VOICES[os.environ.get("KIT_SIM_VENUE", "binance")])
    print("\n".join(map(str, world.log)))
