"""The options of a training as its command line gives them, for tests that call `train` themselves."""

from __future__ import annotations

import argparse
from types import ModuleType


def arguments_of(training: ModuleType, *argv: object) -> argparse.Namespace:
    """`petdiffusion train NAME argv`, parsed; what is not given has the training's default."""
    parser = argparse.ArgumentParser()
    training.add_arguments(parser)
    return parser.parse_args([str(one) for one in argv])
