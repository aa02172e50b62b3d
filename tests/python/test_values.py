# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Values to payloads and back, without a job."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections import OrderedDict, namedtuple

import pytest
from rankcall._protocol import ProtocolError, decode_payload, encode_payload
from rankcall._values import JPEG, PNG, Attachment, flatten, unflatten

WHEN = datetime.datetime(2026, 5, 4, 3, 2, 1, 9, tzinfo=datetime.timezone.utc)
PLAIN = [
    {},
    {"a": 1, "b": [1, 2.5, None, True, "x", {"c": {}}]},
    [],
    [1, [2, [3]]],
    5,
    None,
    "text",
    True,
    -0.0,
    2**63,
    10**400,
    -(10**4000),
    float("inf"),
    {"deep": [float("-inf")]},
    (1, (2, [3])),
    {"t": ()},
    {1: 2, "b": {None: 1, (1, 2): 3, 1.5: 4}},
    {"$rankcall": "x"},
    {"a": {"$rankcall": 1}},
    {"nul\0key": 1, "v": "nul\0value"},
    {"half": "\ud800", "\udfff": 1},
    {"p": b"abc", "q": bytearray(b"x"), "r": b""},
    {"x": [b"1", {"y": b"2"}]},
    b"top",
    {"a.0": b"1", "a": [b"2"]},
    {"$0": b"1", "x" * 300: b"2", "": b"3"},
    {"many": [b"%d" % number for number in range(3000)]},
    {"set": {1, 2}, "frozen": frozenset("ab")},
    1j,
    {"c": complex(math.inf, -0.0)},
    WHEN,
    {"d": WHEN.date(), "t": WHEN.time(), "delta": datetime.timedelta(-1, 2, 3)},
    {"n": decimal.Decimal("1.50"), "u": uuid.UUID(int=7), "p": pathlib.Path("/a/b")},
]


def wire(value, **options):
    """What arrives, the JSON, and the attachments by name."""
    text, attachments = flatten(value, **options)
    text, attachments = decode_payload(bytearray(b"".join(encode_payload(text, attachments))))
    return unflatten(text, attachments), json.loads(text), {one.name: one for one in attachments}


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:40])
def test_what_is_sent_arrives(value):
    arrived, _, _ = wire(value)
    assert arrived == value
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


def test_a_dict_keeps_its_order():
    value = {"image": b"1", "seed": 1, "more": b"2", "last": b"3"}
    assert list(wire(value)[0]) == list(value)


def test_nan_arrives():
    assert math.isnan(wire({"a": [math.nan]})[0]["a"][0])


def test_relatives_of_json_types_arrive_as_those():
    class Colour(enum.Enum):
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    Point = namedtuple("Point", "x y")
    arrived = wire({"e": Colour.RED, "i": Level.HIGH, "p": Point(1, 2), "o": OrderedDict(a=1)})[0]
    assert arrived == {"e": "red", "i": 3, "p": (1, 2), "o": {"a": 1}}


def test_dataclasses_arrive_as_objects():
    @dataclasses.dataclass
    class Inner:
        data: bytes

    @dataclasses.dataclass
    class Outer:
        inner: Inner
        number: int = 3

    assert wire({"o": Outer(Inner(b"x"))})[0] == {"o": {"inner": {"data": b"x"}, "number": 3}}
    assert wire(Outer(Inner(b"x")))[0] == {"inner": {"data": b"x"}, "number": 3}


def test_pydantic_models_arrive_as_objects():
    pydantic = pytest.importorskip("pydantic")

    class Request(pydantic.BaseModel):
        prompt: str
        steps: int = 20

    assert wire({"r": Request(prompt="a cat")})[0] == {"r": {"prompt": "a cat", "steps": 20}}


def cyclic():
    value = []
    value.append(value)
    return {"x": value}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, 2, 3, object()]}, 'payload["a"][3] is'),
        ({"a": {"b": {3: lambda: 0}}}, 'payload["a"]["b"][3] is a function'),
        (object(), "payload is"),
        ({"t": (1, [object()])}, 'payload["t"][1][0] is'),
        ({"a": {object(): 1}}, 'payload["a"]['),
        (cyclic(), 'payload["x"][0]'),
        ({"c": ValueError("x")}, 'payload["c"] is a ValueError'),
    ],
)
def test_what_cannot_be_sent_is_a_type_error_with_its_path(value, path):
    with pytest.raises(TypeError) as caught:
        flatten(value)
    assert path in str(caught.value)


def test_clients_in_other_languages_find_attachments_by_key():
    numpy = pytest.importorskip("numpy")
    _, text, attachments = wire({"n": 1, "data": b"abc", "array": numpy.arange(3, dtype="f4")})
    assert text == {"n": 1}
    assert bytes(attachments["data"].data) == b"abc"
    assert (attachments["array"].type, attachments["array"].dtype, attachments["array"].shape) == (3, 11, (3,))


def test_attachments_of_other_languages_become_members():
    numpy = pytest.importorskip("numpy")
    arrived = unflatten(
        b'{"k": 1}', [Attachment("a", 3, 5, (2,), numpy.array([1, 2]).tobytes()), Attachment("b", 0, 0, (), b"x")]
    )
    assert arrived["k"] == 1 and arrived["a"].tolist() == [1, 2] and arrived["b"] == b"x"


def arrays():
    numpy = pytest.importorskip("numpy")
    record = numpy.dtype([("a", "<i4"), ("b", "<f4", (2,)), ("c", [("x", "i2")])])
    return [
        numpy.arange(6).reshape(2, 3),
        numpy.asfortranarray(numpy.random.default_rng(1).random((3, 4), dtype="f4")),
        numpy.array(5),
        numpy.zeros((0, 3)),
        numpy.array(True),
        numpy.arange(20)[::-3],
        numpy.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        numpy.array(["a", "bc"]),
        numpy.array([b"x", b"yz"]),
        numpy.zeros(3, record),
        numpy.zeros(3, numpy.dtype([("a", "i1"), ("b", "i8")], align=True)),
        numpy.array(["2020-01-01", "NaT"], "M8[D]"),
        numpy.array([1, 2], "m8[ms]"),
        numpy.arange(3, dtype=">f4"),
        numpy.array([1, 2], numpy.longdouble),
        numpy.array([1j], "c8"),
        numpy.array([1j], "c16"),
        numpy.zeros((1,) * 32, "f2"),
        numpy.zeros((2, 0), "S0"),
    ]


@pytest.mark.parametrize("place", ["member", "nested", "top"])
def test_arrays_of_any_dtype_and_order_arrive(place):
    for array in arrays():
        value = {"member": {"a": array}, "nested": {"a": [(array,)]}, "top": array}[place]
        arrived = wire(value)[0]
        arrived = {"member": lambda: arrived["a"], "nested": lambda: arrived["a"][0][0], "top": lambda: arrived}[place]()
        assert arrived.dtype == array.dtype and arrived.shape == array.shape
        assert arrived.tobytes() == array.tobytes()
        assert arrived.flags.writeable


def test_large_arrays_are_not_copied():
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(1000)
    text, attachments = flatten({"a": array})
    assert numpy.shares_memory(numpy.frombuffer(attachments[0].data, "f8"), array)
    arrived = unflatten(text, attachments)["a"]
    assert numpy.shares_memory(arrived, array)
    assert not numpy.shares_memory(unflatten(text, attachments, copy=True)["a"], array)


def test_numpy_scalars_arrive_as_numbers():
    numpy = pytest.importorskip("numpy")
    arrived, text, _ = wire({"f": numpy.float32(0.5), "i": numpy.int64(3), "b": numpy.bool_(True), "s": numpy.str_("x")})
    assert arrived == text == {"f": 0.5, "i": 3, "b": True, "s": "x"}
    assert wire({"d": numpy.datetime64("2020-01-01")})[0]["d"] == numpy.datetime64("2020-01-01")


def test_arrays_of_objects_and_masked_arrays_are_refused():
    numpy = pytest.importorskip("numpy")
    for array in (numpy.array([None]), numpy.zeros(1, [("o", "O")]), numpy.ma.array([1])):
        with pytest.raises(TypeError, match=r'payload\["a"\]\[0\] is'):
            flatten({"a": [array]})


def test_tensors_arrive():
    torch = pytest.importorskip("torch")
    tensors = [
        torch.arange(5),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.tensor(3.0),
        torch.zeros(0, 2),
        torch.ones(3, requires_grad=True),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor([1j]).conj(),
        torch.tensor([True]),
        torch.nn.Parameter(torch.ones(2)),
    ]
    for tensor in tensors:
        for value in ({"a": tensor}, {"a": [tensor]}, tensor):
            arrived = wire(value)[0]
            arrived = arrived if value is tensor else arrived["a"] if value["a"] is tensor else arrived["a"][0]
            assert isinstance(arrived, torch.Tensor) and arrived.dtype == tensor.dtype
            assert arrived.shape == tensor.shape and torch.equal(arrived, tensor.detach())
    for refused in (torch.zeros(2, device="meta"), torch.eye(2).to_sparse()):
        with pytest.raises(TypeError, match=r'payload\["a"\] is'):
            flatten({"a": refused})


def test_dtypes_and_devices_arrive():
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    record = numpy.dtype([("a", "<i4", (2,)), ("b", "S3")])
    for value in (torch.bfloat16, torch.int64, torch.device("cpu"), torch.device("cuda", 1), numpy.dtype("f4"), record):
        arrived = wire({"a": [value]})[0]["a"][0]
        assert arrived == value and type(arrived) is type(value)


def test_a_dtype_that_is_none_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="no dtype"):
        unflatten(b'{"a": {"$rankcall": "torch.dtype", "value": "load"}}', [])
    assert torch.load


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "HSV"])
def test_pictures_arrive(mode):
    Image = pytest.importorskip("PIL.Image")
    picture = Image.radial_gradient("L").resize((9, 7)).convert("RGB")
    picture = picture.convert(mode) if mode != "I;16" else Image.new("I;16", (9, 7), 4000)
    for form in ("jpeg", "png"):
        arrived, _, attachments = wire({"p": picture, "l": [picture]}, image_format=form)
        assert arrived["p"].size == arrived["l"][0].size == (9, 7)
        if form == "png":
            assert arrived["p"].convert("RGB").tobytes() == picture.convert("RGB").tobytes()
        elif mode in ("L", "RGB"):
            assert attachments["p"].type == JPEG
    assert mode != "RGBA" or attachments["p"].type == PNG


def test_jpeg_has_the_quality_asked_for():
    Image = pytest.importorskip("PIL.Image")
    picture = Image.effect_noise((64, 64), 50)
    sizes = [len(flatten({"p": picture}, quality=quality)[1][0].data) for quality in (60, 95)]
    assert sizes[0] < sizes[1] / 1.5


def test_an_unknown_image_format_is_refused():
    Image = pytest.importorskip("PIL.Image")
    with pytest.raises(TypeError, match='"webp"'):
        flatten({"p": Image.new("L", (1, 1))}, image_format="webp")


@pytest.mark.parametrize("cut", [1, 8, 40, 64, 70])
def test_a_payload_cut_short_is_a_protocol_error(cut):
    whole = b"".join(encode_payload(*flatten({"a": 1, "data": b"x" * 30})))
    with pytest.raises(ProtocolError):
        decode_payload(whole[:-cut])
