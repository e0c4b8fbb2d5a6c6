"""What is learned from a replay: known faults are named, healthy windows let be, strangers told apart."""

from dataclasses import replace

import numpy as np
import pytest

from agent.monitor.groups import NO_GROUPS
from agent.monitor.reference import build
from agent.monitor.signatures import decode, encode, signature
from calibration.replay.conditions import HEALTHY, Condition, Replay
from calibration.replay.library import KNOWN, learn

FEATURES, INPUTS = 20, 120
NAMES = tuple(f"feature {at}" for at in range(FEATURES))
FAMILIES = tuple(f"data:family {at}" for at in range(6))


class World:
    """Correlated healthy features; each family of faults moves four of them its own way, each
    implementation with an accent of its own."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        loadings = rng.normal(size=(FEATURES, FEATURES))
        self.mixing = 0.6 * np.eye(FEATURES) + 0.4 * loadings / np.sqrt(FEATURES)
        self.directions = np.zeros((len(FAMILIES) + 1, FEATURES))
        for direction in self.directions:
            direction[rng.choice(FEATURES, 4, replace=False)] = rng.choice([-1.5, 1.5], 4)
        self.rng = rng

    def healthy(self, n):
        return self.rng.normal(size=(n, FEATURES)) @ self.mixing

    def fault(self, rows, family, strength):
        accent = self.rng.normal(size=FEATURES) * 0.15
        return rows + strength * (self.directions[family] + accent)


def condition(family, name, rows, loss=None):
    rows = rows.astype(np.float32)
    return Condition(family=family, name=name, rows=rows, classes=np.full(len(rows), -1), loss=loss)


def replayed(world, kind="accuracy"):
    inputs = world.healthy(INPUTS)
    right = np.zeros(INPUTS)
    wrong = np.where(np.arange(INPUTS) < 30, 1.0, 0.0)
    faults = [
        condition(family, f"strength {strength}", world.fault(inputs, at, strength), wrong)
        for at, family in enumerate(FAMILIES)
        for strength in (0.6, 1.0, 1.6)
    ]
    return Replay(
        kind=kind,
        features=NAMES,
        conditions=(condition(HEALTHY, "as they are", inputs, right), *faults),
        held_out=condition(HEALTHY, "held out", world.healthy(INPUTS), right),
    )


def reference_of(world, rows=400):
    return build(
        features=NAMES,
        families=("light",) * FEATURES,
        profile_rows=world.healthy(rows).astype(np.float32),
        profile_groups=np.full(rows, -1),
        pixels=np.zeros((0, 256), np.int64),
        calibration=world.healthy(rows).astype(np.float32),
        calibration_groups=np.full(rows, -1),
        groups=NO_GROUPS,
        fingerprint="",
    )


@pytest.fixture(scope="module")
def learned():
    world = World(3)
    reference = reference_of(world)
    return world, reference, learn(replayed(world), reference)


def matched(learned, rows):
    _, reference, library = learned
    return library.match(signature(rows.astype(np.float32), reference), len(rows))


def test_healthy_windows_are_let_be(learned):
    kept = [matched(learned, learned[0].healthy(n)).nothing for n in (40, 100, 250) for _ in range(100)]
    assert np.mean(kept) >= 0.97


def test_other_implementations_of_known_faults_are_named(learned):
    world = learned[0]
    right, known = [], []
    for at, family in enumerate(FAMILIES):
        for strength in (0.5, 0.8, 1.3):
            for _ in range(5):
                match = matched(learned, world.fault(world.healthy(250), at, strength))
                right.append(not match.nothing and match.ranked[0].family == family)
                known.append(not match.unlike_anything)
    assert np.mean(right) >= 0.95
    assert np.mean(known) >= KNOWN - 0.1


def test_a_fault_that_was_never_replayed_is_unlike_anything(learned):
    world = learned[0]
    strange = [matched(learned, world.fault(world.healthy(250), len(FAMILIES), 1.5)) for _ in range(20)]
    assert all(match.unlike_anything for match in strange)


def test_the_loss_of_each_fault_is_kept_in_points(learned):
    library = learned[2]
    assert set(library.losses) == {25.0}
    assert (len(library.families), library.inputs, library.rows) == (18, INPUTS, 400)
    assert library.kind == "accuracy"


def test_of_a_regression_it_is_the_rise_of_the_error():
    world = World(5)
    assert set(learn(replayed(world, kind="mse"), reference_of(world)).losses) == {0.25}


def test_without_labels_no_loss_is_known():
    world = World(5)
    replay = replayed(world)
    blind = replace(replay, conditions=tuple(replace(one, loss=None) for one in replay.conditions))
    assert set(learn(blind, reference_of(world)).losses) == {None}


def test_learning_again_gives_the_same_library():
    made = [encode(learn(replayed(World(4)), reference_of(World(6)))) for _ in range(2)]
    assert made[0] == made[1]
    assert encode(decode(*made[0], features=NAMES)) == made[0]


def test_a_replay_of_nothing_or_of_something_else_is_refused():
    world = World(4)
    replay, reference = replayed(world), reference_of(world)
    with pytest.raises(ValueError, match="no fault was replayed"):
        learn(replace(replay, conditions=replay.conditions[:1]), reference)
    with pytest.raises(ValueError, match="other features"):
        learn(replace(replay, features=("else", *NAMES[1:])), reference)


def test_inputs_that_are_all_alike_are_borne():
    world = World(8)
    same = np.tile(world.healthy(1), (60, 1))
    moved = [condition("data:dark", f"by {at}", same + at) for at in (1, 2)]
    healthy = condition(HEALTHY, "as they are", same)
    replay = Replay(kind="accuracy", features=NAMES, conditions=(healthy, *moved), held_out=healthy)
    library = learn(replay, reference_of(world))
    assert library.losses == (None, None)
    decode(*encode(library), features=NAMES)


def test_a_feature_that_never_moves_and_few_inputs_are_borne():
    """As from a small training set of one camera: nothing must divide by nothing."""
    world = World(7)
    replay = replayed(world)

    def flat(one, n):
        rows = one.rows[:n].copy()
        rows[:, 3] = 4.0
        return replace(one, rows=rows, classes=one.classes[:n], loss=one.loss[:n])

    replay = replace(
        replay,
        conditions=tuple(flat(one, 8) for one in replay.conditions),
        held_out=flat(replay.held_out, 8),
    )
    library = learn(replay, reference_of(world))
    assert np.isfinite(library.vectors).all() and np.isfinite(library.basis).all()
    decode(*encode(library), features=NAMES)
