from typing import Any

import pytest
from msgspec import UNSET

from linkstead.actions.device.addressing import DeviceRequest
from linkstead.actions.device.applications import (
    PAGE_SIZE_MAX,
    BatchCheckDeviceNamesData,
    BatchCheckDeviceNamesRequest,
    BatchRegisterDeviceRequest,
    BatchRegisterDeviceWithApplyIdRequest,
    FaultyDevice,
    FaultyDeviceList,
    InvalidDetailList,
    InvalidDeviceNameList,
    InvalidDeviceNicknameList,
    NamedDevice,
    NameList,
    QueryBatchRegisterDeviceStatusData,
    QueryBatchRegisterDeviceStatusRequest,
    QueryPageByApplyIdRequest,
    RepeatedDeviceNameList,
    batch_check_device_names,
    batch_register_device,
    batch_register_device_with_apply_id,
    query_batch_register_device_status,
    query_page_by_apply_id,
)
from linkstead.actions.device.registration import delete_device
from linkstead.errors import codes
from linkstead.registry import DeviceKey, Registrar
from linkstead.registry.applications import (
    APPLICATION_DEVICES_MAX,
    APPLICATIONS_OPEN_MAX,
    EXISTING_DEVICE_NAME,
    ILLEGAL_DEVICE_NAME,
    ILLEGAL_NICKNAME,
    REPEATED_DEVICE_NAME,
)
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio


async def work(world: World) -> None:
    await Registrar(world.registry, world.ids, lambda: world.now_ms, lambda _: None).work()


async def apply(world: World, product_key: str, count: int) -> int:
    request = BatchRegisterDeviceRequest(product_key=product_key, count=count)
    answer = await batch_register_device(world.context(), request)
    assert answer.data is not UNSET
    return answer.data.apply_id


async def check(world: World, product_key: str, *names: str, **fields: Any) -> BatchCheckDeviceNamesData:
    request = BatchCheckDeviceNamesRequest(product_key=product_key, device_name=list(names), **fields)
    answer = await batch_check_device_names(world.context(), request)
    assert answer.data is not UNSET
    assert answer.success is (answer.code is UNSET) is (answer.data.apply_id is not UNSET)
    return answer.data


async def take(world: World, product_key: str, *names: str, **fields: Any) -> int:
    apply_id = (await check(world, product_key, *names, **fields)).apply_id
    assert apply_id is not UNSET
    return apply_id


async def register(world: World, product_key: str, apply_id: int) -> None:
    request = BatchRegisterDeviceWithApplyIdRequest(product_key=product_key, apply_id=apply_id)
    answer = await batch_register_device_with_apply_id(world.context(), request)
    assert answer.data is not UNSET
    assert answer.data.apply_id == apply_id


async def show(world: World, product_key: str, apply_id: int) -> QueryBatchRegisterDeviceStatusData:
    request = QueryBatchRegisterDeviceStatusRequest(product_key=product_key, apply_id=apply_id)
    answer = await query_batch_register_device_status(world.context(), request)
    assert answer.data is not UNSET
    return answer.data


async def page_of(world: World, apply_id: int, **fields: Any) -> tuple[list[tuple[str, str, str]], int]:
    answer = await query_page_by_apply_id(world.context(), QueryPageByApplyIdRequest(apply_id=apply_id, **fields))
    assert answer.apply_device_list is not UNSET
    assert answer.total is not UNSET
    listed = answer.apply_device_list.apply_device_info
    return [(each.iot_id, each.device_name, each.device_secret) for each in listed], answer.total


def state(status: str, valid: list[str] | None = None, invalid: list[str] | None = None, **fields: Any) -> Any:
    return QueryBatchRegisterDeviceStatusData(
        status=status, valid_list=NameList(name=valid or []), invalid_list=NameList(name=invalid or []), **fields
    )


async def test_devices_with_drawn_names_are_registered_in_the_background(world: World) -> None:
    key = (await world.create_product()).product_key
    apply_id = await apply(world, key, 3)
    assert await show(world, key, apply_id) == state("CREATE")
    assert await page_of(world, apply_id) == ([], 0)
    await work(world)
    assert await show(world, key, apply_id) == state("CREATE_SUCCESS")
    listed, total = await page_of(world, apply_id)
    assert (len(listed), total) == (3, 3)
    for iot_id, device_name, device_secret in listed:
        found = await world.registry.find_device(DeviceKey(key, device_name))
        assert found is not None
        assert (found.iot_id, found.device_secret, len(device_name)) == (iot_id, device_secret, 20)


async def test_named_devices_are_checked_and_then_registered(world: World) -> None:
    key = (await world.create_product()).product_key
    apply_id = await take(
        world,
        key,
        "ignored-01",
        device_name_list=[
            NamedDevice(device_name="lamp-02", device_nickname="灯_02"),
            NamedDevice(device_name="lamp-01"),
        ],
    )
    assert await show(world, key, apply_id) == state("CHECK")
    await work(world)
    assert await show(world, key, apply_id) == state("CHECK_SUCCESS")
    assert await world.store.count_devices(key) == 0
    await register(world, key, apply_id)
    assert await show(world, key, apply_id) == state("CREATE")
    await work(world)
    assert await show(world, key, apply_id) == state("CREATE_SUCCESS")
    listed, total = await page_of(world, apply_id)
    assert ([name for _, name, _ in listed], total) == (["lamp-02", "lamp-01"], 2)
    lamp = await world.registry.find_device(DeviceKey(key, "lamp-02"))
    assert lamp is not None
    assert lamp.nickname == "灯_02"
    assert await world.store.count_devices(key) == 2


async def test_names_at_fault_are_told_at_once_and_nothing_is_kept(world: World) -> None:
    key = (await world.create_product()).product_key
    named = [("lamp-01", ""), ("a b", "x"), ("lamp-01", ""), ("lamp-02", "x"), ("lamp-03", "Hall")]
    request = BatchCheckDeviceNamesRequest(
        product_key=key, device_name_list=[NamedDevice(device_name=n, device_nickname=m) for n, m in named]
    )
    answer = await batch_check_device_names(world.context(), request)
    assert (answer.success, answer.code) == (False, "iot.device.InvalidFormattedDeviceName")
    assert answer.error_message is not UNSET
    assert answer.data == BatchCheckDeviceNamesData(
        invalid_detail_list=InvalidDetailList(
            invalid_detail_list=[
                FaultyDevice(device_name="a b", nick_name="x", error_msg=f"{ILLEGAL_DEVICE_NAME}|{ILLEGAL_NICKNAME}"),
                FaultyDevice(device_name="lamp-01", error_msg=REPEATED_DEVICE_NAME),
                FaultyDevice(device_name="lamp-02", nick_name="x", error_msg=ILLEGAL_NICKNAME),
            ]
        ),
        invalid_device_name_list=InvalidDeviceNameList(invalid_device_name=["a b"]),
        invalid_device_nickname_list=InvalidDeviceNicknameList(invalid_device_nickname=["x", "x"]),
        repeated_device_name_list=RepeatedDeviceNameList(repeat_devie_name_list=["lamp-01"]),
    )
    assert await world.store.list_open_applications() == []


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ([("lamp-01", "x"), ("lamp-01", "")], "iot.device.InvalidDeviceNickNameExisted"),
        ([("lamp-01", ""), ("lamp-01", "")], "iot.device.IncorrentDeviceApplyInfo"),
    ],
)
async def test_the_gravest_fault_gives_the_code(world: World, named: list[tuple[str, str]], code: str) -> None:
    key = (await world.create_product()).product_key
    request = BatchCheckDeviceNamesRequest(
        product_key=key, device_name_list=[NamedDevice(device_name=n, device_nickname=m) for n, m in named]
    )
    assert (await batch_check_device_names(world.context(), request)).code == code


async def test_a_name_that_is_taken_fails_the_check_and_nothing_is_registered(world: World) -> None:
    key = (await world.create_product()).product_key
    await world.register_device(key, "lamp-02")
    apply_id = await take(world, key, "lamp-01", "lamp-02", "lamp-03")
    await work(world)
    fault = FaultyDevice(device_name="lamp-02", error_msg=EXISTING_DEVICE_NAME)
    assert await show(world, key, apply_id) == state(
        "CHECK_FAILED",
        ["lamp-01", "lamp-03"],
        ["lamp-02"],
        invalid_detail_list=FaultyDeviceList(invalid_detail_list=[fault]),
    )
    request = BatchRegisterDeviceWithApplyIdRequest(product_key=key, apply_id=apply_id)
    await check_refusal(
        batch_register_device_with_apply_id(world.context(), request), codes.INCORRENT_DEVICE_APPLY_INFO, "CHECK_FAILED"
    )
    assert await world.store.count_devices(key) == 1


async def test_a_name_that_is_taken_after_the_check_fails_alone(world: World) -> None:
    key = (await world.create_product()).product_key
    apply_id = await take(world, key, "lamp-01", "lamp-02", "lamp-03")
    await work(world)
    await register(world, key, apply_id)
    taken = await world.register_device(key, "lamp-02")
    await work(world)
    fault = FaultyDevice(device_name="lamp-02", error_msg=EXISTING_DEVICE_NAME)
    assert await show(world, key, apply_id) == state(
        "CREATE_FAILED",
        ["lamp-01", "lamp-03"],
        ["lamp-02"],
        invalid_detail_list=FaultyDeviceList(invalid_detail_list=[fault]),
    )
    listed, total = await page_of(world, apply_id)
    assert ([name for _, name, _ in listed], total) == (["lamp-01", "lamp-03"], 2)
    kept = await world.registry.find_device(DeviceKey(key, "lamp-02"))
    assert kept is not None
    assert kept.device_secret == taken.device_secret


async def test_an_application_is_started_once(world: World) -> None:
    key = (await world.create_product()).product_key
    apply_id = await take(world, key, "lamp-01")
    request = BatchRegisterDeviceWithApplyIdRequest(product_key=key, apply_id=apply_id)
    running = codes.CREATE_DEVICE_TASK_IS_RUNNING
    await check_refusal(batch_register_device_with_apply_id(world.context(), request), running, "CHECK")
    await work(world)
    await register(world, key, apply_id)
    await check_refusal(batch_register_device_with_apply_id(world.context(), request), running, "CREATE")
    await work(world)
    await check_refusal(
        batch_register_device_with_apply_id(world.context(), request), codes.INCORRENT_DEVICE_APPLY_INFO, "CREATE_SUCC"
    )
    assert await world.store.count_devices(key) == 1


async def test_a_deleted_device_is_no_longer_listed(world: World) -> None:
    key = (await world.create_product()).product_key
    apply_id = await take(world, key, "lamp-01", "lamp-02")
    await work(world)
    await register(world, key, apply_id)
    await work(world)
    await delete_device(world.context(), DeviceRequest(product_key=key, device_name="lamp-01"))
    await world.register_device(key, "lamp-01")
    listed, total = await page_of(world, apply_id)
    assert ([name for _, name, _ in listed], total) == (["lamp-02"], 1)


async def test_devices_of_an_application_are_paged_in_its_order(world: World) -> None:
    key = (await world.create_product()).product_key
    names = [f"lamp-{number:02}" for number in range(PAGE_SIZE_MAX + 5)]
    apply_id = await take(world, key, *names)
    await work(world)
    await register(world, key, apply_id)
    await work(world)
    first, total = await page_of(world, apply_id, page_size=PAGE_SIZE_MAX)
    second, _ = await page_of(world, apply_id, page_size=PAGE_SIZE_MAX, current_page=2)
    assert [name for _, name, _ in first + second] == names
    assert total == len(names)
    for fields in ({"page_size": PAGE_SIZE_MAX + 1}, {"page_size": 0}, {"current_page": 0}):
        await check_refusal(page_of(world, apply_id, **fields), codes.INVALID_PAGE_PARAMS)


@pytest.mark.parametrize("count", [0, -1])
async def test_a_count_below_one_is_refused(world: World, count: int) -> None:
    key = (await world.create_product()).product_key
    await check_refusal(apply(world, key, count), codes.INVALID_FORMATTED_PARAMETER, f"Count={count}", "1..10000")


async def test_a_count_at_its_bound_is_taken_and_past_it_refused(world: World) -> None:
    key = (await world.create_product()).product_key
    assert await apply(world, key, APPLICATION_DEVICES_MAX)
    await check_refusal(apply(world, key, APPLICATION_DEVICES_MAX + 1), codes.DEVICE_COUNT_EXCEEDED, "<= 10000")


async def test_as_many_names_as_the_bound_are_taken_and_one_more_refused(world: World) -> None:
    key = (await world.create_product()).product_key
    names = [f"lamp-{number}" for number in range(APPLICATION_DEVICES_MAX + 1)]
    assert await take(world, key, *names[:-1])
    await check_refusal(check(world, key, *names), codes.DEVICE_COUNT_EXCEEDED, "N=10001")
    await check_refusal(check(world, key), codes.NONE_DEVICE_NAME_ELEMENT)


async def test_a_product_has_so_many_applications_at_work(world: World) -> None:
    key = (await world.create_product()).product_key
    for _ in range(APPLICATIONS_OPEN_MAX):
        await apply(world, key, 1)
    await check_refusal(apply(world, key, 1), codes.APPLY_MANY_DEVICES_FAILED, "<= 20")
    other = (await world.create_product("OtherLamp")).product_key
    await apply(world, other, 1)
    await work(world)
    assert await apply(world, key, 1)


@pytest.mark.parametrize("apply_id", [0, -1])
async def test_an_apply_id_that_cannot_be_is_refused(world: World, apply_id: int) -> None:
    key = (await world.create_product()).product_key
    row = codes.INVALID_FORMATTED_APPLY_ID
    await check_refusal(show(world, key, apply_id), row)
    await check_refusal(register(world, key, apply_id), row)
    await check_refusal(page_of(world, apply_id), row)


async def test_a_foreign_application_looks_like_none(world: World) -> None:
    other = world.context(OTHER_ACCOUNT_ID)
    foreign_key = (await world.create_product("TheirLamp", other)).product_key
    answer = await batch_register_device(other, BatchRegisterDeviceRequest(product_key=foreign_key, count=1))
    assert answer.data is not UNSET
    key = (await world.create_product()).product_key
    await work(world)
    for apply_id in (answer.data.apply_id, 2**62):
        said = f"ApplyId={apply_id}"
        await check_refusal(show(world, key, apply_id), codes.DEVICE_APPLY_IS_NOT_FOUND, said)
        await check_refusal(register(world, key, apply_id), codes.DEVICE_APPLY_IS_NOT_FOUND, said)
        await check_refusal(page_of(world, apply_id), codes.DEVICE_APPLY_IS_NOT_FOUND, said)
        await check_refusal(show(world, foreign_key, apply_id), codes.NOT_EXISTED_PRODUCT)
    elsewhere = world.context(instance_id="iot-cd40w1")
    mine = await apply(world, key, 1)
    await check_refusal(
        query_page_by_apply_id(elsewhere, QueryPageByApplyIdRequest(apply_id=mine)), codes.DEVICE_APPLY_IS_NOT_FOUND
    )
    await check_refusal(apply(world, foreign_key, 1), codes.NOT_EXISTED_PRODUCT)
    await check_refusal(check(world, foreign_key, "lamp-01"), codes.NOT_EXISTED_PRODUCT)


async def test_an_application_of_another_product_is_not_found(world: World) -> None:
    key = (await world.create_product()).product_key
    other = (await world.create_product("OtherLamp")).product_key
    apply_id = await apply(world, key, 1)
    await check_refusal(show(world, other, apply_id), codes.DEVICE_APPLY_IS_NOT_FOUND)
