"""What the words in names of checkpoints say about the number beside them."""

from __future__ import annotations

import re

STEP, EPOCH, COUNT, PLAIN, RUN, METRIC = "step", "epoch", "count", "plain", "run", "metric"

_STEP = {
    "step", "steps", "stp", "iter", "iters", "iteration", "iterations", "it", "itr", "itrs",
    "update", "updates", "upd", "gs", "minibatch", "minibatches",
    "ba",
}  # fmt: skip
_EPOCH = {"epoch", "epochs", "ep", "eps", "epo", "epch", "e"}
# Numbers that grow with time, if nothing better is there.
_COUNT = {
    "checkpoint", "checkpoints", "ckpt", "ckpts", "chkpt", "chkpnt", "cp", "snapshot", "snap",
    "batch", "batches", "token", "tokens", "tok", "toks", "sample", "samples", "example",
    "examples", "image", "images", "img", "imgs", "kimg", "frame", "frames", "episode", "episodes",
    "round", "rounds", "generation", "gen", "t", "time", "hour", "hours", "day", "days", "minute",
    "minutes", "week", "weeks", "month", "months", "chunk", "chunks", "segment", "segments",
    "session", "sessions", "resume", "resumed", "attempt", "attempts", "lesson", "lessons",
}  # fmt: skip
# Numbers that tell runs, or files of one checkpoint, apart.
_RUN = {
    "seed", "seeds", "run", "runs", "fold", "folds", "rank", "gpu", "device", "worker", "exp",
    "experiment", "trial", "version", "v", "ver", "part", "shard", "replica", "job", "task",
    "repeat", "rep", "try", "stage", "phase", "split", "expert", "layer", "block", "cycle",
    "cycles", "restart", "consolidated",
}  # fmt: skip
# Of these a single varying number is taken for the order: releases of one model.
RELEASES = {
    "run",
    "runs",
    "version",
    "v",
    "ver",
    "stage",
    "phase",
    "part",
    "exp",
    "cycle",
    "cycles",
}
# These may grow beside a step within one run.
WITHIN_RUN = {"version", "v", "ver", "stage", "phase", "part", "try", "job"}
# Results and settings: never a time.
_METRIC = {
    "loss", "losses", "acc", "accuracy", "err", "error", "mse", "rmse", "mae", "nll", "ce", "bce",
    "kl", "elbo", "ppl", "perplexity",
    "bpb", "bpc", "bleu", "rouge", "wer", "cer", "f1", "auc", "roc", "ap", "map", "miou",
    "iou", "dice", "psnr", "ssim", "lpips", "fid", "inception", "score", "metric", "reward",
    "return", "ret", "success", "top", "prec", "precision", "recall", "r2", "corr", "mcc", "norm",
    "grad", "gradnorm", "monitor", "objective", "fitness", "quality",
    "lr", "wd", "eta", "momentum", "mom", "beta", "alpha", "gamma", "lambda", "lam", "decay",
    "dropout", "drop", "temp", "temperature", "bs", "bsz", "batchsize", "size", "dim",
    "width", "depth", "hidden", "heads", "head", "nhead", "layers", "nlayers", "hid", "noise",
    "sigma", "std", "mean", "var", "ratio", "remaining", "left", "ago", "minus",
}  # fmt: skip
# Said of any checkpoint, or of the number itself: the word before them decides.
_TRANSPARENT = {
    "no", "num", "number", "nr", "n", "count", "counter", "idx", "index", "id", "at", "after",
    "end", "global", "total", "model", "models", "net", "network", "weights", "weight", "params",
    "param", "state", "states", "dict", "save", "saved", "done", "completed", "seen", "train",
    "training", "val", "valid", "validation", "test", "eval",
}  # fmt: skip
_ENDS = (
    (STEP, ("step", "steps", "iter", "iters", "iteration", "iterations", "update", "updates")),
    (EPOCH, ("epoch", "epochs")),
    (METRIC, ("loss", "acc", "accuracy", "error", "score", "reward")),
    (RUN, ("seed", "fold", "rank")),
    (COUNT, ("ckpt", "checkpoint", "snapshot")),
)
# Copies of the model that are averaged over time.
AVERAGED = {"ema", "swa", "avg", "average", "averaged", "averages", "shadow"}
# Files beside the checkpoints: copies out of order, and what is no model.
ASIDE = AVERAGED | {
    "best", "last", "latest", "final", "finished", "optim", "optimizer", "optimiser", "optimizers",
    "opt", "sched", "scheduler", "schedulers", "scaler", "rng", "random", "metric", "metrics",
    "log", "logs", "history", "result", "results", "stat", "stats", "losses", "args", "config",
    "trainer", "training", "tokenizer", "vocab", "sampler", "dataloader", "backup", "tmp", "old",
    "pretrained", "progress", "prediction", "predictions", "curves",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def words_of(text: str) -> list[str]:
    """Words in lower case, camel case taken apart."""
    return [word.lower() for word in _WORD.findall(text)]


def kind_of_word(word: str) -> str | None:
    """What a number beside this word is; None where the word says nothing."""
    for kind, known in ((STEP, _STEP), (EPOCH, _EPOCH), (METRIC, _METRIC), (RUN, _RUN)):
        if word in known:
            return kind
    if word in _COUNT:
        return COUNT
    for kind, ends in _ENDS:
        if len(word) > 4 and word.endswith(ends):
            return kind
    return None


def kind_of(words: list[str]) -> tuple[str, str]:
    """Kind and word that label a number, by the words before it, the nearest last.

    (PLAIN, "") if they say nothing.
    """
    for word in reversed(words):
        if word in _TRANSPARENT:
            continue
        kind = kind_of_word(word)
        return (PLAIN, "") if kind is None else (kind, word)
    return PLAIN, ""


def follower(words: list[str]) -> list[str]:
    """The first word after a number that says something, as in 5th_epoch, 1000_train_steps."""
    told = [word for word in words if word not in _TRANSPARENT | {"st", "nd", "rd", "th", "of"}]
    return told[:1]


def has_metric(words: list[str]) -> bool:
    """Whether one of the words names a result, as in train_loss_step."""
    return any(kind_of_word(word) == METRIC for word in words)
