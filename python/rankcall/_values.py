# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Python values as payloads: a JSON object and binary attachments, and back.

``flatten(value)`` gives the JSON text and the attachments of a payload, an event or a result, ``unflatten`` makes the
value of them again. Nothing is pickled.

What JSON has not is replaced by a marker, an object with the reserved key ``$rankcall`` that tells the kind::

    {"$rankcall": "ndarray", "attachment": "weights.0"}

Bytes, arrays and pictures that are members of the top-level dict need no marker: they travel as attachments under their
key, so that clients in other languages send and find them there. A top-level value that is no dict is wrapped.
NumPy, torch, PIL and pydantic are used only where a value is theirs, and never imported for anything else.
"""

from __future__ import annotations

from rankcall._attachment import BYTES, DTYPES, JPEG, NDARRAY, PNG, Attachment
from rankcall._flatten import arguments, flatten
from rankcall._unflatten import unflatten

__all__ = ["BYTES", "DTYPES", "JPEG", "NDARRAY", "PNG", "Attachment", "arguments", "flatten", "unflatten"]
