"""Record PyTorch's figures for losses, optimisers, schedules and clipping in torch_figures.json.

The tests compare Gradloom with this file, so they need no PyTorch. To make it again, run

    pip install torch==2.13.0
    python tests/nn/record_torch.py

All figures are float64. An optimiser gets the same gradients at each step, whatever it does with
them, and its numbers are noted after each.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import lr_scheduler

START = [0.7, -1.3, 2.0, 0.0]
STEPS = 12

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.95, "centered": True, "momentum": 0.5}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "betas": [0.0, 0.0]}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "betas": [0.8, 0.95], "weight_decay": 0.3}),
]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, Loss] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
    "hinge": lambda p, t: functional.relu(1 - t * p).mean(),
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "cross_entropy": functional.cross_entropy,
}
PREDICTIONS = [0.3, -1.7, 2.5, -0.2, 40.0, -1e4]
SAMPLES: list[tuple[str, Any, Any]] = [
    *((loss, PREDICTIONS, [0.5, -1.5, -2.0, 0.8, 3.0, 1e4]) for loss in ("mse", "mae", "huber")),
    ("mse", [[0.1, 0.2], [0.3, -0.4], [5.0, 6.0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    ("huber", [1e308, -0.5], [0.0, 0.0]),
    ("hinge", PREDICTIONS, [1.0, -1.0, -1.0, 1.0, 1.0, 1.0]),
    ("binary_cross_entropy", PREDICTIONS, [1.0, 0.0, 0.0, 0.25, 0.0, 1.0]),
    ("binary_cross_entropy", [1e308, -1e308, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0]),
    ("cross_entropy", [0.5, -1.0, 2.0], 1),
    ("cross_entropy", [[0.5, -1.0, 2.0], [3.0, 0.1, -0.2], [1e4, -1e4, 0.0]], [2, 0, 1]),
    ("cross_entropy", [1e308, 1e308, 1e308], 0),
    ("cross_entropy", [1e308, -1e308, 0.0], 0),
    ("cross_entropy", [1e308, -1e308, 0.0], 1),
]

Maker = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
SCHEDULES: list[tuple[str, dict[str, Any], Maker]] = [
    ("constant", {}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ("step", {"size": 3, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5)),
    (
        "linear",
        {"total": 8, "start": 1.0, "end": 0.2},
        lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=8),
    ),
    (
        "cosine",
        {"total": STEPS, "end": 0.1},
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1),
    ),
    (
        "warmup",
        {"steps": 4, "start": 0.25},
        lambda o: lr_scheduler.LinearLR(o, start_factor=0.25, end_factor=1.0, total_iters=4),
    ),
]


def tensor(numbers: Any) -> torch.Tensor:
    """A leaf of 64 bits a number."""
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def gradients() -> list[list[float]]:
    """Random gradients of ordinary size, and a zero, a tiny and a huge one."""
    rng = random.Random(0)
    drawn = [[round(rng.gauss(0, 1), 3) for _ in START] for _ in range(STEPS)]
    drawn[2][0], drawn[4][1], drawn[6][2] = 0.0, 1e-9, 1e6
    return drawn


def optimizer_case(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The numbers after each step of one optimiser."""
    x = tensor(START)
    optimizer = getattr(torch.optim, name)([x], **options)
    numbers = []
    for gradient in gradients():
        x.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        numbers.append(x.tolist())
    return {"optimizer": name.lower(), "options": options, "numbers": numbers}


def loss_case(name: str, prediction: Any, target: Any) -> dict[str, Any]:
    """One loss and its gradient."""
    x = tensor(prediction)
    kind = torch.int64 if name == "cross_entropy" else torch.float64
    value = LOSSES[name](x, torch.tensor(target, dtype=kind))
    value.backward()
    return {
        "loss": name,
        "prediction": prediction,
        "target": target,
        "value": value.item(),
        "gradient": x.grad.tolist(),
    }


def schedule_case(name: str, options: dict[str, Any], make: Maker) -> dict[str, Any]:
    """The learning rate at each step, from 1."""
    optimizer = torch.optim.SGD([tensor(START)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(STEPS + 1):
        factors += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    return {"schedule": name, "options": options, "factors": factors}


def clip_case(clip: Callable[..., Any], limit: float, gradient: list[float]) -> dict[str, Any]:
    """The gradients after clipping, and what the clipping returned."""
    x = tensor(START)
    x.grad = torch.tensor(gradient, dtype=torch.float64)
    norm = clip([x], limit)
    return {
        "clip": clip.__name__.rstrip("_"),
        "limit": limit,
        "before": gradient,
        "after": x.grad.tolist(),
        "norm": None if norm is None else norm.item(),
    }


def main() -> None:
    """Write the file beside this script."""
    plain = [0.5, -3.0, 4.0, 0.0]
    figures = {
        "torch": torch.__version__.partition("+")[0],
        "start": START,
        "gradients": gradients(),
        "optimizer": [optimizer_case(*case) for case in OPTIMIZERS],
        "loss": [loss_case(*sample) for sample in SAMPLES],
        "schedule": [schedule_case(*schedule) for schedule in SCHEDULES],
        "clip": [
            clip_case(clip_grad_value_, 1.0, plain),
            clip_case(clip_grad_norm_, 1.0, plain),
            clip_case(clip_grad_norm_, 100.0, plain),
            clip_case(clip_grad_norm_, 1.0, [float("nan"), 1.0, 2.0, 3.0]),
            clip_case(clip_grad_norm_, 1.0, [float("inf"), 1.0, 2.0, 3.0]),
        ],
    }
    path = Path(__file__).with_name("torch_figures.json")
    lines = json.dumps(figures).replace('}, {"', '},\n{"')
    path.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
