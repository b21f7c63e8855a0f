"""Transformations of functions: what turns plain code into recorded and replayed code."""

from gradloom.transforms.compiled import Compiled, compile
from gradloom.transforms.derivatives import sparsity
from gradloom.transforms.lanes import vmap

__all__ = ["Compiled", "compile", "sparsity", "vmap"]
