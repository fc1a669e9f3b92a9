"""A server whose disk is full at times, or slow, and whose clock is set."""

from sqlalchemy.exc import OperationalError

from tests.simulation.disk import RETRY_S_MAX
from tests.simulation.node import Node
from tests.simulation.simulation import Simulation, run_simulation
from tests.simulation.watch import TroubleWatch

JUMPS_S = (-600.0, -90.0, -2.0, 2.0, 90.0, 600.0)
AHEAD_S_MAX = 700.0
"""How far the clock may be from where it began; apps sign by the same clock."""


class FaultySimulation(Simulation):
    """One run with faults of the disk and of the clock."""

    def __init__(self, seed: int, crowd: int = 1) -> None:
        super().__init__(seed, crowd)
        self._errors = TroubleWatch()
        self._ahead_s = self._furthest_s = 0.0

    async def _act_on_servers(self) -> None:
        chance, disk = self.chance, self._disk
        if disk.is_full or disk.is_slow:
            if chance.random() < 0.3:
                self._mend()
        elif chance.random() < 0.06:
            disk.is_full = chance.random() < 0.5
            disk.is_slow = not disk.is_full
            self.tell(f"the disk is {'full' if disk.is_full else 'slow'}")
        self._note_troubles()
        if chance.random() < 0.05:
            self._set_clock(chance.choice(JUMPS_S))
        await super()._act_on_servers()

    def _mend(self) -> None:
        self.tell("the disk is as it should be")
        self._disk.is_full = self._disk.is_slow = False

    def _set_clock(self, seconds: float) -> None:
        if abs(self._ahead_s + seconds) < AHEAD_S_MAX:
            self.tell(f"the clock is set by {seconds} s")
            self._ahead_s += seconds
            self._furthest_s = max(self._furthest_s, self._ahead_s)
            self.clock.jump(seconds)

    def _note_troubles(self) -> None:
        if self._disk.is_troubled:
            self._disk.troubled_s = self.clock.monotonic_s() + RETRY_S_MAX

    async def _turn(self, seconds: float) -> None:
        self._note_troubles()
        await super()._turn(seconds)
        self._note_troubles()

    async def _start_node(self) -> None:
        try:
            await super()._start_node()
        except OperationalError as error:
            self.tell(f"it does not start: {error.orig}")
            await self._kill_node(self._nodes[0])

    async def _kill_node(self, node: Node) -> None:
        await super()._kill_node(node)
        self._rules.letters.forget_times()

    async def _oversee(self, node: Node) -> None:
        if not self._disk.is_full:
            await super()._oversee(node)

    async def _return(self) -> None:
        self._mend()
        # Nothing that was put off is due in a time that does not come.
        self.clock.jump(self._furthest_s - self._ahead_s)
        await self._turn(RETRY_S_MAX)
        await super()._return()


def simulate_faults(seed: int, crowd: int = 1) -> list[str]:
    """Run one simulation of a server with faults; returns what happened last. Raises Violation."""
    return run_simulation(FaultySimulation(seed, crowd)).story
