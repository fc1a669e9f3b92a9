"""Programs that connect one device with the vendor's Link SDKs. The secret is taken from the environment.

Source: `docs/recipes.md`, where they are run.
"""

import json
import shlex
from collections.abc import Iterator

from linkstead.registry import DeviceKey

SECRET_VARIABLE = "LINKSTEAD_DEVICE_SECRET"


def write_programs(key: DeviceKey, host: str, port: int) -> Iterator[tuple[str, str]]:
    """The name of an SDK, and its program."""
    product_key, device_name, quoted_host = (json.dumps(text) for text in (key.product_key, key.device_name, host))
    yield (
        "Python (aliyun-iot-linkkit)",
        f"""\
# pip install aliyun-iot-linkkit "paho-mqtt<2"
import os, time
from linkkit import linkkit

device = linkkit.LinkKit(
    host_name={quoted_host},
    product_key={product_key},
    device_name={device_name},
    device_secret=os.environ["{SECRET_VARIABLE}"],
)
device.config_mqtt(endpoint={quoted_host}, port={port}, secure="")
device.on_connect = lambda session_flag, rc, userdata: print("connected", rc, flush=True)
device.connect_async()
time.sleep(3600)
""",
    )
    yield (
        "Node.js (alibabacloud-iot-device-sdk)",
        f"""\
// npm install alibabacloud-iot-device-sdk
const iot = require("alibabacloud-iot-device-sdk");

const device = iot.device({{
  productKey: {product_key},
  deviceName: {device_name},
  deviceSecret: process.env.{SECRET_VARIABLE},
  brokerUrl: {json.dumps(f"mqtt://{host}:{port}")},
}});
device.on("connect", () => console.log("connected"));
""",
    )
    yield (
        "C (Link SDK 4.x)",
        f"""\
uint16_t port = {port};
aiot_sysdep_network_cred_t cred;
memset(&cred, 0, sizeof(cred));
cred.option = AIOT_SYSDEP_NETWORK_CRED_NONE;
aiot_mqtt_setopt(mqtt_handle, AIOT_MQTTOPT_HOST, {quoted_host});
aiot_mqtt_setopt(mqtt_handle, AIOT_MQTTOPT_PORT, &port);
aiot_mqtt_setopt(mqtt_handle, AIOT_MQTTOPT_PRODUCT_KEY, {product_key});
aiot_mqtt_setopt(mqtt_handle, AIOT_MQTTOPT_DEVICE_NAME, {device_name});
aiot_mqtt_setopt(mqtt_handle, AIOT_MQTTOPT_DEVICE_SECRET, getenv("{SECRET_VARIABLE}"));
aiot_mqtt_setopt(mqtt_handle, AIOT_MQTTOPT_NETWORK_CRED, &cred);
""",
    )
    yield (
        "linkstead device run",
        f"linkstead device run {shlex.quote(key.product_key)} {shlex.quote(key.device_name)} --mqtt {host}:{port}\n",
    )
