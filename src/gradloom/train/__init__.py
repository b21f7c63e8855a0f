"""Learning from data: the training loop, its callbacks and history, model files, run folders."""

from gradloom.train.callbacks import Callback, Checkpoint, EarlyStopping
from gradloom.train.fit import Training, fit
from gradloom.train.history import History
from gradloom.train.metrics import METRICS
from gradloom.train.modelfile import load_model, save_model

__all__ = [
    "METRICS",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "Training",
    "fit",
    "load_model",
    "save_model",
]
