"""Packaging of minivae. The top-level folder kernels/ is installed as minivae.kernels."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "minivae" / "__init__.py").read_text(encoding="utf-8"))[1]
KERNELS = ["minivae.kernels"] + [f"minivae.kernels.{name}" for name in find_packages("kernels")]

USES = ["scipy>=1.11"]  # the optimiser of logistic regression
# NVRTC compiles the kernels in the tests (a wheel of 90 MB). CuPy (70 MB) needs no GPU to say whether it has what the
# stand-in of the emulator offers, and with which headers it would compile.
COMPILE_CUDA = ["nvidia-cuda-nvrtc==13.0.*", "nvidia-cuda-runtime==13.0.*", "cupy-cuda13x>=14.2"]
AUDIO = ["soundfile>=0.12"]  # .flac, .ogg and .wav of floating numbers
VIDEO = ["av>=12"]  # videos
MPI = ["mpi4py>=4", "mpich>=4.3; sys_platform == 'linux'"]  # the second is an MPI itself, with its mpiexec
CLI = [*USES, "matplotlib>=3.8", "tqdm>=4.60", "pooch>=1.8"]

setup(
    name="minivae",
    version=VERSION,
    description="Autoencoders you can read: a tiny autograd engine, every pass written by hand, in NumPy, C and CUDA",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["minivae", "minivae.*"]) + KERNELS,
    package_dir={"minivae.kernels": "kernels"},
    package_data={
        "minivae": ["py.typed"],
        "minivae.data": ["*.npz", "*.txt"],
        "minivae.explore": ["page.html", "page.css", "*.js"],
        "minivae.kernels": [
            *("native/*.c", "native/*.h", "native/ladder/*.c"),
            *("cuda/*.cu", "cuda/*.cuh", "cuda/ladder/*.cu"),
        ],
    },
    install_requires=["numpy>=2.0"],
    extras_require={
        # [ctk], 1.3 GB, brings headers and NVRTC, without which CuPy compiles nothing. README.md has a smaller way.
        "cuda12": ["cupy-cuda12x[ctk]>=14.2"],
        "cuda13": ["cupy-cuda13x[ctk]>=14.2"],
        "nccl12": ["nvidia-nccl-cu12>=2.18.1,<3"],  # several ranks on GPUs; CuPy looks for these versions
        "nccl13": ["nvidia-nccl-cu13>=2.27.7,<3"],
        "uses": USES,
        "audio": AUDIO,
        "video": VIDEO,
        "mpi": MPI,
        "cli": CLI,
        "test": [
            *CLI,
            "pytest>=8",
            "hypothesis>=6.100",
            "build>=1",
            *AUDIO,
            *VIDEO,
            *MPI,
            "safetensors>=0.4",
            "scikit-learn>=1.6",
            "ruff>=0.6",
            "mypy>=1.11",
            "playwright>=1.40",  # drives the chromium of the machine; without one the test of the page is skipped
            *(f"{name}; sys_platform == 'linux' and platform_machine == 'x86_64'" for name in COMPILE_CUDA),
        ],
        "bench": [*CLI, "threadpoolctl>=3"],
    },
    entry_points={"console_scripts": ["minivae=minivae.__main__:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Operating System :: OS Independent",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
