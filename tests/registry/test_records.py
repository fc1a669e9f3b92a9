from linkstead.registry import DeviceKey
from tests.fakes import KEY, make_access_key, make_device, make_product


def test_a_device_is_named_by_product_key_and_device_name() -> None:
    assert make_device().key == KEY == DeviceKey("a1Lnk5tEad0", "lamp-01")
    assert str(KEY) == "a1Lnk5tEad0/lamp-01"


def test_no_record_shows_its_secret() -> None:
    device, product, key = make_device(), make_product(), make_access_key()
    shown = f"{device!r} {device} {product!r} {product} {key!r} {key} {[device, product, key]}"
    for secret in (device.device_secret, product.product_secret, key.secret):
        assert secret not in shown
    for name in (str(KEY), product.product_key, key.access_key_id):
        assert name in shown
