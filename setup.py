"""Packaging of luss-engine: the import packages `engine` and `luss`, with kernels/ as data of `engine`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
ON_LINUX = "; sys_platform == 'linux' and platform_machine == 'x86_64'"


def version():
    return re.search(r'^__version__ = "([^"]+)"', (HERE / "engine" / "__init__.py").read_text(), re.MULTILINE).group(1)


def kernel_packages():
    """engine._kernels and one name per folder below kernels/ that holds files (git keeps no empty ones)."""
    kernels = HERE / "kernels"
    folders = sorted({path.parent for path in kernels.rglob("*") if path.is_file()} - {kernels})
    return ["engine._kernels"] + [".".join(("engine", "_kernels") + folder.relative_to(kernels).parts) for folder in folders]


setup(
    name="luss-engine",
    version=version(),
    description="Large-scale unsupervised semantic segmentation (PASS and the LUSS benchmark) on Jittor",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The luss-engine authors",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["engine", "engine.*", "luss", "luss.*"]) + kernel_packages(),
    # `kernels` is never an import name (another project owns it): the folder is installed as engine/_kernels
    package_dir={"engine._kernels": "kernels"},
    package_data={
        "": ["*.cuh", "*.h", "*.cu", "*.cc", "cpu/*.h", "CMakeLists.txt", "*.cmake.in"]
        + ["*.html", "*.tsv", "*.csv", "presets/*.toml", "templates/*.html"]
    },
    python_requires=">=3.9,<3.13",
    install_requires=[
        "jittor==1.3.11.0",
        "numpy>=1.22,<2",  # Jittor 1.3.11 computes silently wrong results with NumPy 2
        "pillow>=9.2",
        "scipy>=1.8",
        "faiss-cpu>=1.7.4,<1.16",  # the alternative k-means, and the judge of ours: later ones draw other starts from a seed
        "simplejpeg>=1.7,<2",  # libjpeg-turbo in a wheel: decodes into a buffer of ours, at 1/1 to 1/8 scale, without the GIL
        "xxhash>=3.0,<5",  # 64-bit checksums at memory speed: a tenth of BLAKE2's time
        "tqdm>=4.64",
        "tensorboardX>=2.6",
        "tomli>=2; python_version < '3.11'",
        # convolutions on the CPU are 15 to 130 times slower without; 2023 and later is oneDNN 3, which Jittor does not know
        "onednn-cpu-gomp==2022.2.1" + ON_LINUX,
        "onednn-devel-cpu-gomp==2022.2.1" + ON_LINUX,
    ],
    extras_require={
        # cmake: tests/kernels build and install libluss_kernels as its users do; the wheel puts it on the environment's PATH
        "test": ["pytest>=8.0,<10", "pytest-timeout>=2.3,<3", "hypothesis>=6.100,<7", "ruff>=0.17,<0.18", "cmake>=3.24,<5"],
        # peers that the benchmarks time themselves against, and the picture
        "bench": ["torch>=2.0", "pytest-benchmark>=4,<6", "pycocotools>=2.0.6,<3", "matplotlib>=3.5,<4"],
    },
    entry_points={"console_scripts": ["luss = luss.cli.main:run"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Operating System :: POSIX :: Linux",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
