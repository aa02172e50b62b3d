# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The GPU that torch is given is the one that the ranks agreed on. torch.cuda is a stand-in here."""

import ctypes
import os
from types import SimpleNamespace

import pytest

from rankcall._gpu import all_differ, place, see_what_is_set, torch_index

DIGITS = "00000000-0000-0000-0000-%012d"


class Cuda:
    """torch.cuda of a machine with three GPUs, in another order than their addresses'."""

    def __init__(self, uuids=True, addresses=True):
        self.uuids, self.addresses = uuids, addresses

    def device_count(self):
        return 3

    def get_device_properties(self, index):
        properties = SimpleNamespace()
        if self.uuids:
            properties.uuid = DIGITS % (2 - index)
        if self.addresses:
            properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id = 0, 0x12 - index, 0
        return properties


@pytest.mark.parametrize("number", (0, 1, 2))
def test_by_uuid_then_by_address_then_in_turn(number):
    address, uuid = "0000:%02x:00.0" % (0x10 + number), "GPU-" + DIGITS % number
    assert torch_index(Cuda(), address, uuid, 7) == 2 - number
    assert torch_index(Cuda(uuids=False), address, uuid, 7) == 2 - number
    assert torch_index(Cuda(addresses=False), address, uuid, 7) == 2 - number
    assert torch_index(Cuda(uuids=False, addresses=False), address, uuid, 7) == 1
    assert torch_index(Cuda(), "", "", 5) == 2


def test_a_slice_has_the_digits_that_cuda_tells():
    assert torch_index(Cuda(), "", "MIG-" + DIGITS % 1, 0) == 1


def test_ranks_share_a_gpu_when_its_address_is_the_same_on_one_host():
    address, uuid = "0000:11:00.0", "GPU-" + DIGITS % 1
    here = place(Cuda(), 1, "one", address, uuid)
    assert place(Cuda(), 1, "one", "", "MIG-another-slice-of-it") == here
    assert place(Cuda(addresses=False), 1, "one", address, uuid) == here
    assert place(Cuda(), 2, "one", "", "") != here
    assert place(Cuda(), 1, "two", address, uuid) != here
    assert place(Cuda(), 3, "one", "", "") == ""
    assert all_differ([here, place(Cuda(), 2, "one", "", "")])
    assert not all_differ([here, here])
    assert not all_differ([here, ""])


def test_each_rank_of_slurm_sees_one_gpu_and_all_have_their_own():
    """--gpus-per-task: torch's number 0 is another GPU on every rank."""
    places = [place(Cuda(addresses=False), 0, "one", "0000:%02x:00.0" % rank, "GPU-" + DIGITS % rank) for rank in range(4)]
    assert all_differ(places)


def test_what_c_sets_in_the_environment_is_seen(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    ctypes.CDLL(None).setenv(b"CUDA_VISIBLE_DEVICES", b"", 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    see_what_is_set()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
