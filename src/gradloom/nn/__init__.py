"""Networks of scalars: modules, layers, losses, optimisers and learning-rate schedules.

The schedules stand in `nn.schedules`: `nn.Scheduler(optimizer, nn.schedules.Cosine(100))`.
"""

from gradloom.nn.layers import ACTIVATIONS, INITS, MLP, Layer, Neuron, from_config, linear
from gradloom.nn.losses import (
    LOSSES,
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    l1,
    l2,
    mae,
    mse,
)
from gradloom.nn.module import Module, Parameter
from gradloom.nn.optim import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
)
from gradloom.nn.schedules import SCHEDULES, Scheduler

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "LOSSES",
    "MLP",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "Layer",
    "Module",
    "Neuron",
    "Optimizer",
    "Parameter",
    "RMSprop",
    "Scheduler",
    "binary_cross_entropy",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "from_config",
    "hinge",
    "huber",
    "l1",
    "l2",
    "linear",
    "mae",
    "mse",
]
