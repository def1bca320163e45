"""Places the torchvision repair in site-packages; everything else about the project is in pyproject.toml.

A `.pth` file works only at the top of site-packages, which setuptools reaches by `data_files` alone: they are copied
under the environment's prefix, so the path from there is computed here, for the Python that installs.
"""

import sys
import sysconfig
from pathlib import Path

import setuptools


class _Distribution(setuptools.Distribution):
    def has_data(self) -> bool:
        """Asked by setuptools' editable install, which otherwise leaves `data_files` out."""
        return bool(self.has_data_files())


site_packages = Path(sysconfig.get_path("purelib")).relative_to(sysconfig.get_path("data"))
setuptools.setup(
    distclass=_Distribution,
    data_files=[
        (
            site_packages.as_posix(),
            ["torchvision_shim/fundus_ray_torchvision.pth", "torchvision_shim/fundus_ray_torchvision.py"],
        )
    ],
    # The path above holds for this Python alone, and the wheel's name says so.
    options={"bdist_wheel": {"python_tag": f"cp{sys.version_info.major}{sys.version_info.minor}"}},
)
