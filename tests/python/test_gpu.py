# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The GPU that torch is given is the one that the ranks agreed on. torch.cuda is a stand-in here."""

from types import SimpleNamespace

import pytest

from rankcall._gpu import torch_index

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
