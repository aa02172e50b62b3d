# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Which of torch's GPUs is the one that the rank agreed on with the others of its node."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Sequence


def _names(properties: Any) -> "tuple[str, str]":
    """UUID and PCI address as rankcall writes them, "" where this torch does not tell them."""
    uuid = str(getattr(properties, "uuid", "")).lower()
    bus = getattr(properties, "pci_bus_id", None)
    if bus is None:
        return uuid, ""
    address = "%04x:%02x:%02x.0" % (properties.pci_domain_id, bus, properties.pci_device_id)
    return uuid, address


def torch_index(cuda: Any, address: str, uuid: str, local_rank: int) -> int:
    """The number of that GPU: by UUID, whose digits are a slice's, too, else by PCI address; the local rank's in turn where
    neither is known. ``cuda``: torch.cuda."""
    count = cuda.device_count()
    known = [_names(cuda.get_device_properties(index)) for index in range(count)]
    digits = uuid[4:].lower()
    for index, (its_uuid, _) in enumerate(known):
        if digits and its_uuid.endswith(digits):
            return index
    for index, (_, its_address) in enumerate(known):
        if address and its_address == address.lower():
            return index
    return local_rank % count


def see_what_is_set() -> None:
    """Takes over what the C library has set for CUDA in the environment, which Python has read before."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        value = getenv(name.encode())
        if value is not None:
            os.environ[name] = value.decode()


def place(cuda: Any, index: int, host: str, address: str, uuid: str) -> str:
    """A name that only ranks that share a GPU have in common; "" if there is no GPU. Slices of one count as sharing it: NCCL
    refuses them, too."""
    if index >= cuda.device_count():
        return ""
    its_uuid, its_address = _names(cuda.get_device_properties(index))
    return "%s %s" % (host, its_address or address or uuid or its_uuid or index)


def all_differ(places: Sequence[str]) -> bool:
    """Whether every rank has a GPU of its own."""
    return "" not in places and len(set(places)) == len(places)
