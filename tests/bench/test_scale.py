"""The model of docs/scale.md: it gives back what was measured, a mixed load too, and behaves as sums do."""

import json
from dataclasses import fields, replace

import pytest

from bench.scale.model import (
    CONSTANTS,
    CORE_US,
    FULL,
    Constants,
    Prediction,
    Scenario,
    batches_s,
    call_us,
    count_nodes,
    predict,
    read_constants,
    storm_s,
)
from bench.scale.page import (
    PAGE,
    SIZES,
    WORDS,
    choose_nodes,
    describe_combined,
    describe_scenario,
    list_points,
    write_page,
)
from linkstead.api.nonces import NONCE_SPAN_S, NONCES_MAX
from linkstead.store.retention import CALL_HISTORY_ROWS_MAX

WHOLE_MARGIN, PART_FACTOR = 0.4, 2.0
"""The machine's own speed moves by so much between the measurements of constants and that of the mixed load."""

MEASURED = json.loads(CONSTANTS.read_text())
CONST = read_constants()
EMPTY = Scenario(devices=0, connected=0)
TWO = replace(EMPTY, nodes=2)
BUSY = Scenario(
    devices=100_000,
    connected=80_000,
    rrpc_s=300,
    services_s=200,
    accepted_s=50,
    posts_s=500,
    connects_s=20,
    changes_s=1,
    nodes=4,
)


def cores(scenario: Scenario, part: str = "node") -> float:
    return predict(CONST, scenario).part(part).cores * CORE_US


def added(scenario: Scenario, part: str = "node") -> float:
    """Microseconds a second beyond what the same Linkstead takes that has nothing to do."""
    empty = Scenario(devices=0, connected=0, nodes=scenario.nodes, nats_servers=scenario.nats_servers)
    return cores(scenario, part) - cores(empty, part)


def test_every_constant_was_measured_and_has_words() -> None:
    names = {each.name for each in fields(Constants)}
    assert names <= set(MEASURED["constants"])
    assert names == set(WORDS)
    assert all(each["least"] <= each["value"] <= each["greatest"] for each in MEASURED["constants"].values())
    assert all(getattr(CONST, name) >= 0 for name in names)


@pytest.mark.parametrize(
    ("scenario", "constant"),
    [
        (replace(EMPTY, rrpc_s=7), "node_call_us"),
        (replace(EMPTY, services_s=7), "node_service_us"),
        (replace(EMPTY, accepted_s=7), "node_accepted_us"),
        (replace(EMPTY, posts_s=7), "node_post_us"),
        (replace(EMPTY, connects_s=7), "node_connect_us"),
        (replace(EMPTY, connected=2_100, keep_alive_s=300), "node_ping_us"),
    ],
)
def test_a_single_node_takes_what_was_measured(scenario: Scenario, constant: str) -> None:
    # So few a second are a transaction each; a ping is none.
    batch_us = 0.0 if constant == "node_ping_us" else CONST.node_batch_us
    assert added(scenario) == pytest.approx(7 * (getattr(CONST, constant) + batch_us))


def test_two_nodes_take_what_was_measured_on_two_nodes() -> None:
    every = replace(TWO, rrpc_s=7, remote=1.0)
    both = CONST.node_asked_us + CONST.node_held_us + CONST.node_nonce_us + CONST.node_batch_us
    assert 2 * added(every) == pytest.approx(7 * both)
    none = replace(every, remote=0.0)
    assert 2 * added(none) == pytest.approx(7 * (CONST.node_call_us + CONST.node_nonce_us + CONST.node_batch_us))
    costs = call_us(CONST, every)
    assert costs["nodes"] == pytest.approx(both)
    assert costs["nats"] == pytest.approx(CONST.nats_call_us)
    shared = call_us(CONST, every, on_one_core=True)
    assert shared["nodes"] - costs["nodes"] == pytest.approx(CONST.node_shared_us)
    assert shared["nats"] - costs["nats"] == pytest.approx(CONST.nats_shared_us)


@pytest.mark.parametrize(
    ("scenario", "constant"),
    [
        (replace(EMPTY, rrpc_s=7), "postgres_call_us"),
        (replace(EMPTY, services_s=7), "postgres_call_us"),
        (replace(EMPTY, accepted_s=7), "postgres_accepted_us"),
        (replace(EMPTY, posts_s=7), "postgres_post_us"),
        (replace(EMPTY, connects_s=7), "postgres_connect_us"),
    ],
)
def test_the_database_takes_what_was_measured(scenario: Scenario, constant: str) -> None:
    # So few a second are a transaction each.
    each_us = getattr(CONST, constant) + CONST.postgres_batch_us
    assert added(scenario, "PostgreSQL") == pytest.approx(7 * each_us)


def test_a_node_writes_what_comes_within_a_moment_in_one_transaction() -> None:
    few, many = (added(replace(EMPTY, rrpc_s=rate), "PostgreSQL") for rate in (1_000, 2_000))
    assert many - few == pytest.approx(1_000 * CONST.postgres_call_us)
    assert few - 1_000 * CONST.postgres_call_us == pytest.approx(20 * CONST.postgres_batch_us)


def test_memory_is_what_each_device_takes() -> None:
    nodes = predict(CONST, replace(TWO, connected=2_000, devices=2_000, nats_servers=1))
    of_node = CONST.node_base_bytes + 1_000 * (CONST.node_device_bytes + CONST.kernel_device_bytes)
    assert nodes.part("node").memory_bytes == pytest.approx(of_node)
    of_nats = CONST.nats_base_bytes + 2_000 * CONST.nats_device_bytes
    assert nodes.part("NATS server").memory_bytes == pytest.approx(of_nats)
    alone = predict(CONST, replace(EMPTY, connected=1_000)).part("node").memory_bytes
    of_alone = CONST.alone_device_bytes + CONST.kernel_device_bytes
    assert alone == pytest.approx(CONST.node_base_bytes + 1_000 * of_alone)


def test_a_mixed_load_on_three_nodes_costs_what_the_model_says() -> None:
    """No constant was taken from it."""
    predicted = call_us(CONST, describe_combined(MEASURED), on_one_core=True)
    measured = {part: MEASURED["combined"][part]["value"] for part in predicted}
    assert sum(predicted.values()) == pytest.approx(sum(measured.values()), rel=WHOLE_MARGIN)
    for part, each_us in measured.items():
        assert each_us / PART_FACTOR <= predicted[part] <= each_us * PART_FACTOR, part


def test_a_mixed_load_on_three_nodes_writes_the_rows_that_the_model_says() -> None:
    # Nodes that share a core come to fewer transactions than they may make.
    calls_s = MEASURED["combined"]["calls_s"]["value"]
    of_a_call = batches_s(replace(EMPTY, nodes=3), calls_s) / calls_s
    assert of_a_call / PART_FACTOR <= MEASURED["combined"]["rows"]["value"] <= of_a_call


@pytest.mark.parametrize(
    "more",
    ["devices", "connected", "rrpc_s", "services_s", "accepted_s", "posts_s", "connects_s", "changes_s"],
)
def test_more_of_anything_never_needs_less(more: str) -> None:
    fewer, greater = (predict(CONST, replace(BUSY, **{more: getattr(BUSY, more) * times})) for times in (1, 2))
    for part in fewer.parts:
        other = greater.part(part.name)
        assert all(after >= before for before, after in zip(part[1:], other[1:], strict=True)), part.name
    shares = {wall.name: wall.share for wall in greater.walls}
    assert all(shares[wall.name] >= wall.share for wall in fewer.walls)


def test_twice_of_everything_needs_twice_as_much() -> None:
    loads = ("rrpc_s", "services_s", "accepted_s", "posts_s", "connects_s", "connected", "devices")
    once = replace(BUSY, nodes=1, changes_s=0)
    twice = replace(once, **{name: getattr(once, name) * 2 for name in loads})
    batches_us = 20 * CONST.node_batch_us
    assert added(twice) - batches_us == pytest.approx(2 * (added(once) - batches_us))
    batches_us = 20 * CONST.postgres_batch_us
    rows_us = added(once, "PostgreSQL") - batches_us
    assert added(twice, "PostgreSQL") - batches_us == pytest.approx(2 * rows_us)


def test_more_nodes_leave_less_to_each_and_take_more_in_all() -> None:
    few, many = (predict(CONST, replace(BUSY, nodes=nodes)) for nodes in (4, 8))
    assert many.part("node").cores < few.part("node").cores
    assert many.part("node").memory_bytes < few.part("node").memory_bytes
    assert 8 * many.part("node").cores > 4 * few.part("node").cores
    assert many.part("PostgreSQL").cores > few.part("PostgreSQL").cores


def test_nothing_to_do_takes_nothing_on_one_node() -> None:
    assert cores(EMPTY) == 0
    assert predict(CONST, EMPTY).first_wall is None


def test_the_first_wall_is_the_one_that_is_passed_most() -> None:
    span_calls_s = NONCES_MAX / NONCE_SPAN_S
    at, past = (predict(CONST, replace(EMPTY, rrpc_s=span_calls_s * times, history_days=0)) for times in (1.0, 1.001))
    assert name_wall(at) != "nonces remembered" or share(at, "nonces remembered") == pytest.approx(1.0)
    assert share(past, "nonces remembered") == pytest.approx(1.001)
    kept = predict(CONST, replace(EMPTY, rrpc_s=CALL_HISTORY_ROWS_MAX / 86_400 * 3, history_days=1))
    assert name_wall(kept) == "calls kept"
    assert share(kept, "calls kept") == pytest.approx(3)
    files = predict(CONST, replace(EMPTY, connected=1_000, files_max=100))
    assert name_wall(files) == "files of a node"


def name_wall(found: Prediction) -> str:
    return found.first_wall.name if found.first_wall else ""


def share(found: Prediction, name: str) -> float:
    return next(wall.share for wall in found.walls if wall.name == name)


def test_as_many_nodes_as_are_needed_are_not_full_and_fewer_are() -> None:
    needed = count_nodes(CONST, BUSY)
    assert needed is not None
    assert predict(CONST, replace(BUSY, nodes=needed)).part("node").cores <= FULL
    heavy = replace(BUSY, rrpc_s=20_000)
    needed = count_nodes(CONST, heavy)
    assert needed is not None
    assert needed > 2
    assert predict(CONST, replace(heavy, nodes=needed)).part("node").cores <= FULL
    assert predict(CONST, replace(heavy, nodes=needed * 9 // 10 - 1)).part("node").cores > FULL


def test_no_number_of_nodes_is_enough_where_each_is_told_too_much() -> None:
    assert count_nodes(CONST, replace(BUSY, connects_s=10 * CORE_US / CONST.node_own_us)) is None


def test_a_storm_lasts_longer_the_more_devices_are_in_it() -> None:
    part, whole = storm_s(CONST, BUSY, 0.25), storm_s(CONST, BUSY, 1.0)
    assert all(0 < part[name] < whole[name] for name in whole)


def test_the_tables_and_plots_of_the_page_are_those_of_the_model() -> None:
    text = PAGE.read_text()
    assert write_page(text, MEASURED, CONST) == text, "python -m bench.scale.page writes it anew"
    assert all(line[1] for plot in list_points(CONST).values() for line in plot.values())


def test_every_wall_is_explained_on_the_page() -> None:
    text = PAGE.read_text()
    walls = {
        wall.name
        for devices in SIZES
        for wall in predict(CONST, describe_scenario(devices, choose_nodes(CONST, devices))).walls
    }
    assert all(f"| {name} |" in text.partition("## How to pass each")[2] for name in walls)
