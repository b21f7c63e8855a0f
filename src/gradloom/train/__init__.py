"""Learning from data: the training loop, its callbacks and history, model files, run folders."""

from gradloom.train.callbacks import Callback, Checkpoint, EarlyStopping
from gradloom.train.fit import fit
from gradloom.train.history import History
from gradloom.train.metrics import METRICS
from gradloom.train.modelfile import load_model, save_model
from gradloom.train.rates import RateSearch, find_learning_rate
from gradloom.train.training import Training

__all__ = [
    "METRICS",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "RateSearch",
    "Training",
    "find_learning_rate",
    "fit",
    "load_model",
    "save_model",
]
