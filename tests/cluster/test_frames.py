import msgspec
import pytest

from linkstead.cluster import frames
from linkstead.cluster.frames import Decoder, NotUnderstood, Own, Reply, Send, Wake
from linkstead.cluster.subjects import Subjects, read_key, read_number
from linkstead.invocation import Stage
from linkstead.registry import DeviceKey

OWN = Own(node="node-a", epoch=5)


def test_a_frame_is_read_back() -> None:
    assert Decoder(Own).decode(frames.encode(OWN)) == OWN
    reply = Reply(node="node-a", kind=1, moments=[(Stage.WRITTEN, 0.5)], payload=b"\xff")
    assert Decoder(Reply).decode(frames.encode(reply)) == reply


def test_what_is_said_to_a_holder_is_told_apart() -> None:
    wake = Wake(node="node-a", product_key="a", device_name="b")
    assert Decoder[Send | Wake](Send | Wake).decode(frames.encode(wake)) == wake


def test_a_field_of_a_later_version_is_passed_over_and_one_that_is_missing_is_made_up() -> None:
    later = msgspec.msgpack.encode([f"Own/{frames.FORMAT}", "node-a", 5, 0, "of a later version"])
    assert Decoder(Own).decode(later) == OWN
    earlier = msgspec.msgpack.encode([f"Reply/{frames.FORMAT}", "node-a", 1])
    assert Decoder(Reply).decode(earlier) == Reply(node="node-a", kind=1)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", msgspec.msgpack.encode([f"Own/{frames.FORMAT + 1}", "node-a", 5]), b"\x91\x01"]
)
def test_another_format_is_not_understood(data: bytes) -> None:
    with pytest.raises(NotUnderstood):
        Decoder(Own).decode(data)


@pytest.mark.parametrize("name", ["lamp-01", "a.b", "a@b:c", "a%2Eb", "a b", "a*b>c"])
def test_a_name_is_one_word_of_a_subject_and_is_read_back(name: str) -> None:
    subject = Subjects("main").device(DeviceKey("a1Lamp00001", name))
    assert subject.startswith("ls.main.d.a1Lamp00001.")
    assert subject.count(".") == 4
    assert not set(subject) & set(" *>")
    assert read_key(subject) == DeviceKey("a1Lamp00001", name)


def test_the_subject_of_a_reply_has_its_number() -> None:
    assert read_number(Subjects("main").reply("host.example-a", -7)) == -7


def test_what_is_not_true_any_more_is_read_from_its_subject() -> None:
    subjects = Subjects("main")
    assert subjects.read_invalid(subjects.invalid("device", "a1Lamp00001", "a.b")) == ("device", ("a1Lamp00001", "a.b"))
