"""The wheel also holds the notebooks, the studies and the tables of numbers, which lie beside the package in a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = {
    "notebooks": ("*.ipynb", "studies/*.yaml", "studies/README.md"),
    "data": ("*.csv", "reported/*", "results/**/*"),
}


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder, patterns in SHIPPED.items():
            for path in sorted(path for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()):
                target = Path(self.build_lib, "mmlib", "shipped", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


setup(cmdclass={"build_py": BuildWithData})
