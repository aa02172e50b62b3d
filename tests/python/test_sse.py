# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Server-Sent Events, byte for byte."""

import base64
import io
import json

import pytest
from rankcall._sse import text_event
from rankcall._values import flatten


def block(value, **options):
    event = text_event(*flatten(value, **options))
    assert event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2
    return event


def shown(value, **options):
    return json.loads(block(value, **options)[6:])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"step": 1, "progress": 0.5}, b'{"step": 1, "progress": 0.5}'),
        ({"t": "\u00e4\n"}, b'{"t": "\\u00e4\\n"}'),
        ([1, (2, None)], b"[1, [2, null]]"),
        (None, b"null"),
        ({"a": float("nan")}, b'{"a": null}'),
        ({1: "x"}, b'{"1": "x"}'),
    ],
)
def test_json(value, text):
    assert block(value) == b"data: " + text + b"\n\n"


def test_bytes_are_a_data_url():
    got = shown({"b": b"abc"})
    url = "data:application/octet-stream;base64," + base64.b64encode(b"abc").decode()
    assert got == {"b": {"content_type": "application/octet-stream", "data": None, "url": url}}


@pytest.mark.parametrize(("form", "mode"), [("jpeg", "RGB"), ("jpeg", "L"), ("png", "RGBA"), ("png", "P"), ("png", "F")])
def test_pictures_are_data_urls(form, mode):
    Image = pytest.importorskip("PIL.Image")
    got = shown({"n": 1, "p": Image.new(mode, (31, 17)), "m": 2}, image_format=form)
    assert list(got) == ["n", "p", "m"]
    picture = got["p"]
    assert list(picture) == ["content_type", "width", "height", "data", "url"]
    assert (picture["content_type"], picture["width"], picture["height"]) == ("image/" + form, 31, 17)
    start, data = picture["url"].split(",")
    assert start == "data:image/%s;base64" % form
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (31, 17)


def test_arrays_are_data_urls():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6, dtype="f4").reshape(2, 3)
    got = shown({"a": array})["a"]
    assert (got["content_type"], got["shape"], got["dtype"]) == ("application/ndarray", [2, 3], "float32")
    assert numpy.array_equal(numpy.load(io.BytesIO(base64.b64decode(got["url"].split(",")[1]))), array)


def test_tensors_are_data_urls():
    torch = pytest.importorskip("torch")
    got = shown([torch.ones(2, 3)])[0]
    assert (got["content_type"], got["shape"], got["dtype"]) == ("application/tensor", [2, 3], "torch.float32")
    assert torch.equal(torch.load(io.BytesIO(base64.b64decode(got["url"].split(",")[1]))), torch.ones(2, 3))
