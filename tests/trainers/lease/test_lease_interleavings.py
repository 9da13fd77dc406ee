"""The lease under interleavings: any order of requests, crashes, pauses and faults."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.trainers.lease.lease_actors import TIMES, Actor, World
from trainers.lease.record import decode, file_name

INDEX = st.integers(min_value=0, max_value=100)
MAX_LIVE = 4


class LeaseMachine(RuleBasedStateMachine):
    """Drivers run, one request each in turn, unless they are suspended; crashes fall anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.suspended: set[Actor] = set()

    def live(self) -> list[Actor]:
        return [actor for actor in self.world.actors if not actor.dead]

    @precondition(lambda self: len(self.live()) < MAX_LIVE)
    @rule(host=st.sampled_from("ab"))
    def arrive(self, host: str) -> None:
        Actor(self.world, host)

    @precondition(lambda self: any(actor.can_step() for actor in self.live()))
    @rule(which=INDEX, times=st.integers(min_value=1, max_value=5), suspend=st.booleans())
    def step(self, which: int, times: int, suspend: bool) -> None:
        """Let one go some requests further, and perhaps fall asleep right there."""
        ready = [actor for actor in self.live() if actor.can_step()]
        actor = ready[which % len(ready)]
        for _ in range(times):
            if actor.can_step():
                actor.step()
        if suspend:
            self.suspended.add(actor)

    @rule(seconds=st.sampled_from([0.25, 1.25, 5.0]))
    def run(self, seconds: float) -> None:
        """Whoever is not suspended runs as it should."""
        end = self.world.now + seconds
        while self.world.now < end:
            run_in_turn([actor for actor in self.live() if actor not in self.suspended])
            self.world.now += 0.25

    @precondition(lambda self: self.owner() is not None)
    @rule()
    def suspend_the_owner(self) -> None:
        """Long enough for another one to take its lease over, at any request it has reached."""
        owner = self.owner()
        assert owner is not None
        self.suspended.add(owner)
        if len(self.live()) < MAX_LIVE:
            Actor(self.world, "c")
        self.run(5.0)

    @precondition(lambda self: self.suspended)
    @rule(which=INDEX)
    def resume(self, which: int) -> None:
        asleep = sorted(self.suspended, key=lambda actor: actor.pid)
        self.suspended.discard(asleep[which % len(asleep)])
        self.run(1.25)

    def owner(self) -> Actor | None:
        owners = [a for a in self.live() if a.claim and a.claim.record.number == self.world.highest]
        return owners[0] if owners else None

    @precondition(lambda self: self.live())
    @rule(which=INDEX)
    def crash(self, which: int) -> None:
        self.live()[which % len(self.live())].crash()

    @precondition(lambda self: self.live())
    @rule(which=INDEX)
    def ask_to_end(self, which: int) -> None:
        self.live()[which % len(self.live())].wants_release = True

    @precondition(lambda self: self.live())
    @rule(which=INDEX)
    def fail_the_next_request(self, which: int) -> None:
        self.live()[which % len(self.live())].fails_next = True

    @invariant()
    def one_owner_believes_without_a_higher_number(self) -> None:
        numbers = self.world.numbers()
        assert not self.world.highest or numbers[-1] == self.world.highest
        owners = [a for a in self.live() if a.claim and a.believes]
        top = [a for a in owners if a.claim and a.claim.record.number == self.world.highest]
        assert len(top) <= 1
        for actor in top:
            record = decode(self.world.files[file_name(self.world.highest)])
            assert record is not None and record.process == actor.process

    @invariant()
    def who_saw_a_higher_number_stops_at_its_next_look(self) -> None:
        for actor in self.live():
            if actor.saw_higher and actor.wakes_at > self.world.now:
                assert actor.why_lost is not None

    def teardown(self) -> None:
        for actor in self.live():
            actor.crash()
        began = self.world.now
        heir = Actor(self.world, "c")
        heir.run(lambda actor: actor.dead or actor.claim is not None)
        assert heir.believes and heir.claim is not None
        assert self.world.now - began <= TIMES.dead_after_s + 2 * TIMES.look_every_s
        rival = Actor(self.world, "d")
        began = self.world.now
        while not rival.dead:
            run_in_turn([heir, rival])
            self.world.now += 0.25
        assert rival.refused is not None and f"process {heir.pid} on c" in rival.refused
        assert self.world.now - began <= 2 * TIMES.beat_every_s
        heir.crash()


def run_in_turn(actors: list[Actor]) -> None:
    """One request each until all sleep."""
    while ready := [actor for actor in actors if actor.can_step()]:
        for actor in ready:
            actor.step()


def test_a_number_used_and_removed_while_a_contender_slept_is_not_won() -> None:
    world = World()
    first, sleeper = Actor(world, "a"), Actor(world, "b")
    end(first)
    sleeper.step()
    sleeper.step()  # has seen that 1 is released, and sleeps before it creates 2
    for _ in range(3):
        end(Actor(world, "a"))
    assert world.numbers() == [3, 4]
    owner = Actor(world, "a")
    owner.run(lambda actor: actor.claim is not None)
    assert world.numbers() == [4, 5]
    sleeper.step()
    assert world.numbers() == [2, 4, 5] and sleeper.claim is None
    while not sleeper.dead:
        run_in_turn([owner, sleeper])
        world.now += 0.25
    assert world.numbers() == [4, 5] and sleeper.claim is None
    assert sleeper.refused is not None and f"process {owner.pid} on a" in sleeper.refused
    owner.crash()


def end(actor: Actor) -> None:
    """Let it take the lease and give it back."""
    actor.wants_release = True
    actor.run(lambda actor: actor.dead)
    assert actor.claim is not None and actor.claim.record.released


LeaseMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLease = LeaseMachine.TestCase
