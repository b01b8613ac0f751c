"""What setup.cfg cannot say: the models, which lie beside the package, are installed under its name."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["tinygrad_rnn*"]), "tinygrad_rnn.models"],
    package_dir={"tinygrad_rnn.models": "models"},
)
