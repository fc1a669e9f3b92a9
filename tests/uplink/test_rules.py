import asyncio

import pytest

from linkstead.tsl.checking import ValidateType
from linkstead.uplink.request import Refused
from linkstead.uplink.rules import RuleBook
from tests.fakes import KEY
from tests.uplink.bench import BARE_KEY, FREE_KEY, STRICT_KEY, Bench


@pytest.mark.asyncio
async def test_rules_are_at_hand_once_they_were_read(bench: Bench) -> None:
    book = RuleBook(bench.registry, bench.models)
    assert book.recall(KEY.product_key) is None
    rules = await book.read(KEY.product_key)
    assert (rules.level, rules.is_published) == (ValidateType.WEAK, True)
    assert book.recall(KEY.product_key) == rules


@pytest.mark.asyncio
async def test_a_product_alone_is_not_enough(bench: Bench) -> None:
    await bench.registry.find_product(KEY.product_key)
    assert RuleBook(bench.registry, bench.models).recall(KEY.product_key) is None
    bench.registry.forget_all()
    await bench.models.find_checker(KEY.product_key)
    assert RuleBook(bench.registry, bench.models).recall(KEY.product_key) is None


@pytest.mark.asyncio
async def test_that_nothing_is_published_is_at_hand_too(bench: Bench) -> None:
    book = RuleBook(bench.registry, bench.models)
    rules = await book.read(BARE_KEY.product_key)
    assert not rules.is_published
    assert rules.checker.find_event("LampFault") is None
    assert book.recall(BARE_KEY.product_key) == rules


@pytest.mark.asyncio
async def test_the_level_is_that_of_the_product(bench: Bench) -> None:
    book = RuleBook(bench.registry, bench.models)
    assert (await book.read(STRICT_KEY.product_key)).level is ValidateType.STRICT
    assert (await book.read(FREE_KEY.product_key)).level is ValidateType.NONE


@pytest.mark.asyncio
async def test_what_was_changed_elsewhere_is_read_again(bench: Bench) -> None:
    book = RuleBook(bench.registry, bench.models)
    await book.read(KEY.product_key)
    bench.models.forget_all()
    assert book.recall(KEY.product_key) is None
    await book.read(KEY.product_key)
    bench.registry.forget_all()
    assert book.recall(KEY.product_key) is None


@pytest.mark.asyncio
async def test_of_many_at_once_one_asks_the_store(bench: Bench) -> None:
    book = RuleBook(bench.registry, bench.models)
    before = bench.store.statement_count
    await book.read(STRICT_KEY.product_key)
    of_one = bench.store.statement_count - before
    rules = await asyncio.gather(*(book.read(KEY.product_key) for _ in range(50)))
    assert len({id(each.checker) for each in rules}) == 1
    assert of_one > 0
    assert bench.store.statement_count == before + 2 * of_one


@pytest.mark.asyncio
async def test_an_unknown_product_is_refused(bench: Bench) -> None:
    book = RuleBook(bench.registry, bench.models)
    with pytest.raises(Refused) as caught:
        await book.read("a1Nowhere01")
    assert caught.value.code == 6250
