"""The rules hold for several nodes, whatever becomes of them, of the network and of the database between them.

See CONTRIBUTING.md.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from linkstead.cluster.changes import Changes
from linkstead.cluster.holder import Holder
from linkstead.cluster.nonces import SharedNonces
from linkstead.cluster.quotas import SharedQuotas
from linkstead.cluster.router import NatsRouter
from linkstead.invocation import Delivery
from linkstead.registry import DeviceKey, Registry
from linkstead.registry.registry import DEVICE
from tests.simulation.cluster import simulate_cluster
from tests.simulation.rules import Violation
from tests.simulation.simulation import Simulation

CROWD_NAME = "LINKSTEAD_SIMULATION_CROWD"
SEED_NAME = "LINKSTEAD_SIMULATION_CLUSTER_SEED"
SEEDS = 30
FAULT_SEEDS = 20
"""Within so many, from a given one on, a fault is found."""

LONG_SEEDS = 2_000
CROWDED_SEEDS = 2
CROWD = 16
"""How many times as many calls are made there."""

BATCH = 10
"""Seeds of one test."""

STORY_SEED = 1267

TWO_ENDS_SEED = 17
"""In its crowd a device that hurries answers on a node, and drops its session on another before that is on the disk."""

HASH_SEEDS = ("0", "4")
"""Of strings, and so of the order in which a set of devices is gone through."""


def check(seed: int, crowd: int = 1) -> None:
    """One seed; where a rule is broken the failure says how to see it again."""
    try:
        simulate_cluster(seed, crowd)
    except Exception as error:
        error.add_note(f"again: {SEED_NAME}={seed} .venv/bin/pytest tests/simulation -k repeat_cluster")
        raise


def simulate_all(seeds: range) -> None:
    for seed in seeds:
        simulate_cluster(seed)


def test_a_seed_tells_the_same_story_of_nodes_twice() -> None:
    assert simulate_cluster(3) == simulate_cluster(3)


def test_a_seed_tells_the_same_story_of_nodes_in_another_process() -> None:
    stories = [_tell_elsewhere(hash_seed) for hash_seed in HASH_SEEDS]
    assert stories[0] == stories[1]
    assert stories[0] == simulate_cluster(STORY_SEED, CROWD)


def _tell_elsewhere(hash_seed: str) -> list[str]:
    program = (
        "import json; from tests.simulation.cluster import simulate_cluster; "
        f"print(json.dumps(simulate_cluster({STORY_SEED}, {CROWD})))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed}
    told = subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE)
    story: list[str] = json.loads(told.stdout)
    return story


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_the_rules_hold_for_nodes(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + LONG_SEEDS, BATCH))
def test_the_rules_hold_for_nodes_and_many_seeds(first: int) -> None:
    for seed in range(first, first + BATCH):
        check(seed)


@pytest.mark.parametrize("seed", range(CROWDED_SEEDS))
def test_the_rules_hold_for_nodes_in_a_crowd(seed: int) -> None:
    check(seed, CROWD)


def test_repeat_cluster() -> None:
    """The seed that the environment names, or the first one."""
    check(int(os.environ.get(SEED_NAME, "0")), int(os.environ.get(CROWD_NAME, "1")))


# --- what the simulation is worth: each fault is found


def hear_of_no_takeover(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holder, "_take_own", lambda holder, *message: None)


def listen_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holder, "claim", claim_without_listening)


async def claim_without_listening(holder: Holder, keys: Sequence[DeviceKey]) -> Sequence[DeviceKey]:
    for key in keys:
        await holder._delivery.load(key)
    return []


def tell_no_nonces(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SharedNonces, "tell", lambda nonces: nonces._untold.clear())


def grant_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SharedQuotas, "take", lambda *of_account: True)


def leave_calls_behind(patch: pytest.MonkeyPatch) -> None:
    async def do_nothing(delivery: Delivery, node: str | None = None) -> None:
        pass

    patch.setattr(Delivery, "end_stranded", do_nothing)


def break_when_posting(patch: pytest.MonkeyPatch) -> None:
    async def fail(router: NatsRouter, *posted: object, **options: object) -> bool:
        raise ValueError

    patch.setattr(NatsRouter, "post", fail)


def hear_of_no_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Changes, "_take", lambda changes, *message: None)
    patch.setattr(Registry, "forget_all", lambda registry: None)


def hear_of_no_key(patch: pytest.MonkeyPatch) -> None:
    forget = Registry.forget

    def forget_devices(registry: Registry, kind: str, names: Sequence[str]) -> None:
        if kind == DEVICE:
            forget(registry, kind, names)

    patch.setattr(Registry, "forget", forget_devices)
    patch.setattr(Registry, "forget_all", lambda registry: None)


def end_before_the_answer_is_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_may_be_answered", lambda delivery, call, message: False)


@pytest.mark.parametrize(
    ("rules", "plant", "first"),
    [
        ({1}, break_when_posting, 0),
        ({1}, leave_calls_behind, 0),
        ({14, 15}, hear_of_no_takeover, 0),
        ({14, 15}, listen_for_nobody, 0),
        ({16}, tell_no_nonces, 0),
        ({17}, grant_everything, 42),
        ({18}, hear_of_no_change, 3),
        ({18}, hear_of_no_key, 38),
    ],
)
def test_a_planted_fault_of_nodes_is_found(
    monkeypatch: pytest.MonkeyPatch, rules: set[int], plant: Callable[[pytest.MonkeyPatch], None], first: int
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation) as caught:
        simulate_all(range(first, first + FAULT_SEEDS))
    assert caught.value.rule in rules


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Have devices connect anew among their calls, most often with a clean session."""
    call_often = Simulation._call_often

    def call_and_connect(simulation: Simulation) -> None:
        call_often(simulation)
        if simulation.chance.random() < 0.05:
            device = simulation.chance.choice(list(simulation._devices.values()))
            device.connect(is_clean=simulation.chance.random() < 0.7, ext=1)

    patch.setattr(Simulation, "_call_often", call_and_connect)


def test_two_ends_of_a_call_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    simulate_cluster(TWO_ENDS_SEED, CROWD)
    end_before_the_answer_is_written(monkeypatch)
    with pytest.raises(Violation) as caught:
        simulate_cluster(TWO_ENDS_SEED, CROWD)
    assert caught.value.rule == 13
