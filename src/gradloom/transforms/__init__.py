"""Transformations of functions: what turns plain code into recorded and replayed code."""

from gradloom.transforms.compiled import Compiled, compile
from gradloom.transforms.derivatives import sparsity
from gradloom.transforms.lanes import vmap
from gradloom.transforms.training import training_step

__all__ = ["Compiled", "compile", "sparsity", "training_step", "vmap"]
