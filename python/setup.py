# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What pyproject.toml can't say: where no C library is installed, it is built with mpicc and put into the package."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from setuptools import setup  # noqa: E402
from setuptools.command.build_py import build_py  # noqa: E402

from build_runtime import build, wanted  # noqa: E402

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel

BUNDLED = wanted()


class BuildWithRuntime(build_py):
    def run(self):
        super().run()
        if BUNDLED and not getattr(self, "editable_mode", False):
            build(os.path.join(self.build_lib, "rankcall", "_runtime"))


class Wheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        if BUNDLED:
            self.root_is_pure = False

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return ("py3", "none", platform) if BUNDLED else (python, abi, platform)


setup(cmdclass={"build_py": BuildWithRuntime, "bdist_wheel": Wheel})
