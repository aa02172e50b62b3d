# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""What bench/run and bench/compare are made of."""
