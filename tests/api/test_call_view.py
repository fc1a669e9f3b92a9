import json

from linkstead.api.call_view import view_call
from linkstead.invocation import Call, Diagnosis, Evidence, Stage, Stray, Verdict
from linkstead.invocation.call import CALL_PAYLOAD_KEPT_BYTES_MAX
from linkstead.registry import DeviceKey


def _call() -> Call:
    call = Call(
        request_id="41C4265E-F05D-4E2E-AB09-E031F501AF7F",
        node="node-1",
        action="RRpc",
        account_id="1001",
        access_key_id="app-key",
        instance_id="iot-1",
        message_id=889455942124347392,
        key=DeviceKey("a1Lamp00001", "lamp-01"),
        target="/user/get",
        timeout_ms=5000,
    )
    call.mark(Stage.RECEIVED, 1_700_000_000.5, 10.0)
    call.mark(Stage.WRITTEN, 1_700_000_000.75, 10.25)
    return call


def test_a_call_under_way_is_shown_without_a_verdict() -> None:
    assert view_call(_call(), whole=False) == {
        "message_id": "889455942124347392",
        "request_id": "41C4265E-F05D-4E2E-AB09-E031F501AF7F",
        "action": "RRpc",
        "access_key_id": "app-key",
        "instance_id": "iot-1",
        "product_key": "a1Lamp00001",
        "device_name": "lamp-01",
        "target": "/user/get",
        "timeout_ms": 5000,
        "verdict": None,
        "code": None,
        "diagnosis": None,
        "late_by_ms": None,
        "caller_gone": False,
        "received_ms": 1_700_000_000_500,
        "timeline": [
            {"stage": "received", "time_ms": 1_700_000_000_500, "offset_ms": 0.0, "node": "node-1"},
            {"stage": "written", "time_ms": 1_700_000_000_750, "offset_ms": 250.0, "node": "node-1"},
        ],
        "evidence_count": 0,
    }


def test_a_call_refused_before_it_had_a_device_is_shown() -> None:
    call = Call(request_id="R", node="node-1")
    call.end(Verdict.REJECTED, Diagnosis.REJECTED, "iot.prod.NullProductKey")
    view = view_call(call, whole=True)
    assert (view["message_id"], view["product_key"], view["device_name"]) == (None, None, None)
    assert (view["received_ms"], view["timeline"]) == (0, [])
    assert (view["verdict"], view["code"], view["diagnosis"]) == ("REJECTED", "iot.prod.NullProductKey", "rejected")


def test_the_whole_view_has_payloads_and_evidence() -> None:
    call = _call()
    call.set_request(b"\xff\x00")
    call.set_answer(bytes(CALL_PAYLOAD_KEPT_BYTES_MAX + 1))
    call.unknown_parameters = ["ServiceCode"]
    call.add_evidence(Evidence(Stray.LATE, 1_700_000_001_000, "a1Lamp00001/lamp-01", "/t", b"late", 4))
    call.add_evidence(Evidence(Stray.OTHER_DEVICE, 1_700_000_001_000, "", "", b"", 9))
    call.evidence_dropped = 3
    view = view_call(call, whole=True)
    assert view["request"] == {"bytes": 2, "base64": "/wA=", "truncated": False}
    assert (view["answer"]["bytes"], view["answer"]["truncated"]) == (CALL_PAYLOAD_KEPT_BYTES_MAX + 1, True)
    assert view["unknown_parameters"] == ["ServiceCode"]
    assert view["evidence"] == [
        {
            "reason": "late",
            "time_ms": 1_700_000_001_000,
            "sender": "a1Lamp00001/lamp-01",
            "topic": "/t",
            "payload": {"bytes": 4, "base64": "bGF0ZQ==", "truncated": False},
        },
        {
            "reason": "other-device",
            "time_ms": 1_700_000_001_000,
            "sender": "a device of another account",
            "topic": "",
            "payload": {"bytes": 9, "base64": "", "truncated": True},
        },
    ]
    assert (view["evidence_count"], view["evidence_dropped"]) == (5, 3)
    json.dumps(view)
