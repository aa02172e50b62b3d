# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The web example with a real server and a real browser."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import rankcall

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("numpy")
pytest.importorskip("PIL")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOME = os.path.dirname(os.path.dirname(os.path.abspath(rankcall.__file__)))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    address = "http://127.0.0.1:%d/" % free_port()
    line = [sys.executable, os.path.join(ROOT, "examples", "python", "web", "server.py")]
    line += ["--ranks", "2", "--port", address.split(":")[2].strip("/")]
    process = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": HOME}, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(address).read()
            break
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
    yield address
    process.terminate()
    assert process.wait(60) in (0, -15)


def test_the_stream_is_server_sent_events(server):
    with urllib.request.urlopen(server + "stream?colours=4&steps=3") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = answer.read().split(b"\n\n")
    assert blocks.pop() == b""
    events = [json.loads(block[len(b"data: ") :]) for block in blocks]
    assert [event.get("step") for event in events] == [1, 2, 3, None]
    assert events[0]["preview"]["url"].startswith("data:image/jpeg;base64,")
    assert len(events[-1]["colours"]) == 4


def test_a_browser_shows_the_previews(server, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium")
    line = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=%s" % tmp_path]
    line += ["--virtual-time-budget=60000", "--dump-dom", server + "?colours=4&steps=5"]
    page = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120, check=True)
    assert "Done after 5 previews." in page.stdout
    assert page.stdout.count("background: rgb(") == 4
    assert 'src="data:image/jpeg;base64,' in page.stdout
