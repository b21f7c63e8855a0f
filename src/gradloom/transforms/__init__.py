"""Transformations of functions: what turns plain code into recorded and replayed code."""

from gradloom.transforms.compiled import Compiled, compile

__all__ = ["Compiled", "compile"]
