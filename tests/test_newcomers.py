from linkstead.newcomers import Newcomers


def test_so_many_enter_and_one_more_does_not() -> None:
    newcomers = Newcomers(3, 3, 10)
    assert [newcomers.enter(f"10.0.0.{number}") for number in range(4)] == [True, True, True, False]
    assert (newcomers.count, newcomers.refused_count) == (3, 1)


def test_one_address_takes_no_more_than_its_part() -> None:
    newcomers = Newcomers(10, 2, 10)
    assert [newcomers.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert newcomers.enter("10.0.0.2")


def test_who_leaves_makes_room_and_nothing_is_left_of_him() -> None:
    newcomers = Newcomers(1, 1, 10)
    for _ in range(3):
        assert newcomers.enter("10.0.0.1")
        assert newcomers.keep(7)
        newcomers.leave("10.0.0.1", 7)
    assert (newcomers.count, newcomers.kept_bytes, newcomers._of_address) == (0, 0, {})


def test_bytes_are_bounded_for_all_together() -> None:
    newcomers = Newcomers(9, 9, 10)
    assert newcomers.keep(6)
    assert newcomers.keep(4)
    assert not newcomers.keep(1)
    assert newcomers.refused_count == 1
