"""Which folder is which package: one top-level name, `edgepress`, whatever the folders of this project are called."""

from __future__ import annotations

from setuptools import find_namespace_packages, setup

FOLDERS = {"edgepress.compress": "compress", "edgepress.targets": "targets", "edgepress.benchmarks": "benchmarks"}
FACE = "compress/face"

setup(
    packages=[
        "edgepress",
        *FOLDERS,
        *(
            f"{package}.{inner}"
            for package, folder in FOLDERS.items()
            for inner in find_namespace_packages(folder, exclude=["*__pycache__*"])
            if f"{folder}/{inner}" != FACE
        ),
    ],
    package_dir={"edgepress": FACE, **FOLDERS},
)
