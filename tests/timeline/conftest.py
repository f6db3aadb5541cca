"""The short recordings that inference is tested on."""

from ..inference.conftest import recordings

__all__ = ["recordings"]
