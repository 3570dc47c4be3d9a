"""Make reference data for optimisers, schedules, losses and averages, by PyTorch and TensorFlow.

    python tools/training/optimizers.py torch           # tests/data/training/torch.npz
    python tools/training/optimizers.py tensorflow      # tests/data/training/tensorflow.npz

The first needs PyTorch, the second TensorFlow 2, neither minincep.  Each file holds what went in
(settings in words of minincep, weights at the start, gradients, rates) and what came out, for each
case in float32 and float64: the weights after each of 20 steps.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Case = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "tests/data/training"
STEPS = 20
SHAPES = {
    "conv/weight": (2, 3),
    "conv/batch_norm/beta": (3,),
    "head/weight": (3, 2),
    "head/bias": (2,),
}
EPOCHS = [0.0, 0.25, 0.5, 1.0, 1.75, 2.0, 3.0, 4.0, 5.5, 6.0, 8.0, 9.75, 10.0, 12.0]

# Settings in minincep's words, each on top of the optimiser's defaults there.
OF_TORCH: dict[str, Case] = {
    "sgd plain": {"optimizer": "sgd", "settings": {"momentum": 0.0}},
    "sgd plain decay": {"optimizer": "sgd", "settings": {"momentum": 0.0, "weight_decay": 0.05}},
    "sgd momentum": {"optimizer": "sgd", "settings": {"momentum": 0.9}},
    "sgd momentum decay": {"optimizer": "sgd", "settings": {"momentum": 0.9, "weight_decay": 0.05}},
    "sgd nesterov": {
        "optimizer": "sgd",
        "settings": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    },
    "sgd groups": {
        "optimizer": "sgd",
        "settings": {"momentum": 0.9, "weight_decay": 0.05},
        "group": {"pattern": "head", "rate": 10.0, "weight_decay": 0.2},
    },
    "sgd norm": {"optimizer": "sgd", "settings": {"momentum": 0.9}, "clip_norm": 3.0},
    "sgd value": {"optimizer": "sgd", "settings": {"momentum": 0.9}, "clip_value": 0.7},
    "adam": {"optimizer": "adam", "settings": {}},
    "adam decay": {
        "optimizer": "adam",
        "settings": {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.05},
    },
    "adam gaps": {"optimizer": "adam", "settings": {}, "gaps": "head/weight"},
    "adamw": {"optimizer": "adamw", "settings": {"weight_decay": 0.05}},
    "adamw groups": {
        "optimizer": "adamw",
        "settings": {"weight_decay": 0.05},
        "group": {"pattern": "head", "rate": 10.0, "weight_decay": 0.0},
    },
}
OF_TENSORFLOW: dict[str, Case] = {
    "rmsprop paper": {"optimizer": "rmsprop", "settings": {}},
    "rmsprop no momentum": {
        "optimizer": "rmsprop",
        "settings": {"decay": 0.8, "momentum": 0.0, "eps": 1e-3},
    },
    "rmsprop decay": {"optimizer": "rmsprop", "settings": {"weight_decay": 0.05}},
}


def inputs() -> dict[str, Array]:
    """Weights at the start, gradients of each step, rates: the same for all cases."""
    random = np.random.RandomState(20)
    count = sum(int(np.prod(shape)) for shape in SHAPES.values())
    sizes = np.exp(random.uniform(-4, 2, STEPS))[:, None]  # gradients large and small
    return {
        "start": random.standard_normal(count),
        "gradients": sizes * (random.standard_normal((STEPS, count)) + 0.3),
        "rates": np.where(np.arange(STEPS) < STEPS // 2, 0.1, 0.03),
    }


def parts(flat: Array) -> dict[str, Array]:
    """Arrays by path, from one after the other."""
    found, first = {}, 0
    for path, shape in SHAPES.items():
        last = first + int(np.prod(shape))
        found[path] = flat[first:last].reshape(shape)
        first = last
    return found


def has_gradient(case: Case, path: str, step: int) -> bool:
    """A weight with gaps has a gradient in two steps of three."""
    return case.get("gaps") != path or step % 3 != 1


def trainings(cases: dict[str, Case], run: Callable[..., Iterator[Array]]) -> dict[str, Array]:
    """All cases in both types of numbers: the weights after each step."""
    given = inputs()
    results = {}
    for name, case in cases.items():
        for dtype in ("float32", "float64"):
            arrays = {key: value.astype(dtype) for key, value in given.items() if key != "rates"}
            results[f"{name}/{dtype}"] = np.stack(list(run(case, **arrays, rates=given["rates"])))
    return results


def write(name: str, version: str, cases: dict[str, Case], results: dict[str, Array]) -> None:
    words = {"by": f"{name} {version}", "cases": cases, "shapes": SHAPES}
    FOLDER.mkdir(parents=True, exist_ok=True)
    arrays: Any = {"words": json.dumps(words), **inputs(), **results}
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


def make_torch() -> None:
    import torch

    def decay_of(case: Case, path: str) -> float:
        if not path.endswith("weight"):
            return 0.0
        group = case.get("group", {})
        if path.startswith(group.get("pattern", " ")):
            return float(group["weight_decay"])
        return float(case["settings"].get("weight_decay", 0.0))

    def factor_of(case: Case, path: str) -> float:
        group = case.get("group", {"pattern": " ", "rate": 1.0})
        return float(group["rate"]) if path.startswith(group["pattern"]) else 1.0

    def run(case: Case, start: Array, gradients: Array, rates: Array) -> Iterator[Array]:
        weights = {p: torch.nn.Parameter(torch.tensor(a)) for p, a in parts(start).items()}
        groups = [
            {"params": [w], "weight_decay": decay_of(case, path)} for path, w in weights.items()
        ]
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        settings = {k: v for k, v in case["settings"].items() if k != "weight_decay"}
        optimizer = kind[case["optimizer"]](groups, lr=0.1, **settings)
        for step, rate in enumerate(rates):
            for group, path in zip(optimizer.param_groups, SHAPES, strict=True):
                group["lr"] = float(rate) * factor_of(case, path)
            for path, gradient in parts(gradients[step]).items():
                known = has_gradient(case, path, step)
                weights[path].grad = torch.tensor(gradient) if known else None
            if "clip_norm" in case:
                torch.nn.utils.clip_grad_norm_(weights.values(), case["clip_norm"])
            if "clip_value" in case:
                torch.nn.utils.clip_grad_value_(weights.values(), case["clip_value"])
            optimizer.step()
            yield np.concatenate([w.detach().numpy().ravel() for w in weights.values()])

    results = trainings(OF_TORCH, run)
    results |= torch_schedules() | torch_losses()
    write("torch", torch.__version__.partition("+")[0], OF_TORCH, results)


def torch_schedules() -> dict[str, Array]:
    """Rates of a base rate of 0.5, quarter epoch by quarter epoch."""
    import torch
    from torch.optim import lr_scheduler as kinds

    def rates(make: Callable[[Any], list[Any]]) -> Array:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        schedule = kinds.ChainedScheduler(make(optimizer), optimizer)
        found = []
        for _ in range(40):
            found.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return np.array(found)

    tiny = 1e-12  # PyTorch's ramp may not begin at 0
    return {
        "schedule/step": rates(lambda o: [kinds.MultiStepLR(o, [12, 20, 33], gamma=0.3)]),
        "schedule/staircase": rates(lambda o: [kinds.StepLR(o, 8, gamma=0.94)]),
        "schedule/smooth": rates(lambda o: [kinds.ExponentialLR(o, 0.94 ** (1 / 8))]),
        "schedule/cosine": rates(lambda o: [kinds.CosineAnnealingLR(o, 40)]),
        "schedule/warm-up": rates(lambda o: [kinds.LinearLR(o, tiny, 1.0, 10)]),
        "schedule/warm-up and step": rates(
            lambda o: [kinds.LinearLR(o, tiny, 1.0, 10), kinds.MultiStepLR(o, [4, 20], gamma=0.3)]
        ),
    }


def torch_losses() -> dict[str, Array]:
    """Cross entropy with its gradient, in float64."""
    import torch

    random = np.random.RandomState(3)
    logits, labels = 3 * random.standard_normal((6, 4)), random.randint(0, 4, 6)
    weights = random.uniform(0.2, 2.0, 4)
    results = {"logits": logits, "labels": labels, "class_weights": weights}
    for name, options in {
        "smooth": {"label_smoothing": 0.1},
        "weighted": {"weight": torch.tensor(weights)},
    }.items():
        x = torch.tensor(logits, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(x, torch.tensor(labels), **options)
        loss.backward()
        results[f"loss/{name}"] = np.append(x.grad.numpy().ravel(), loss.item())
    return results


def make_tensorflow() -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    v1.disable_eager_execution()

    def run(case: Case, start: Array, gradients: Array, rates: Array) -> Iterator[Array]:
        settings = {"decay": 0.9, "momentum": 0.9, "eps": 1.0} | case["settings"]
        names = ("decay", "momentum", "eps")
        with tf.Graph().as_default(), v1.Session() as session:
            weights = {
                p: v1.Variable(a, name=p, use_resource=False) for p, a in parts(start).items()
            }
            given = {p: v1.placeholder(a.dtype, a.shape) for p, a in parts(start).items()}
            rate = v1.placeholder(start.dtype, ())
            # A number would be rounded to float32 first.
            numbers = [tf.constant(settings[key], start.dtype) for key in names]
            optimizer = v1.train.RMSPropOptimizer(rate, *numbers)
            decay = settings.get("weight_decay", 0.0)
            pairs = [
                (given[path] + (decay * w if path.endswith("weight") else 0.0), w)
                for path, w in weights.items()
            ]
            step = optimizer.apply_gradients(pairs)
            session.run(v1.global_variables_initializer())
            for number, now in enumerate(rates):
                feed = {given[p]: g for p, g in parts(gradients[number]).items()}
                session.run(step, {**feed, rate: now})
                yield np.concatenate([w.ravel() for w in session.run(list(weights.values()))])

    results = trainings(OF_TENSORFLOW, run)
    results |= tensorflow_average(tf) | tensorflow_schedule(tf)
    write("tensorflow", tf.__version__, OF_TENSORFLOW, results)


def tensorflow_average(tf: Any) -> dict[str, Array]:
    """The moving average of weights that become the gradients of `inputs`, one after the other."""
    v1 = tf.compat.v1
    given = inputs()
    results = {}
    for dtype in ("float32", "float64"):
        start, gradients = (given[key].astype(dtype) for key in ("start", "gradients"))
        with tf.Graph().as_default(), v1.Session() as session:
            weights = v1.Variable(start, use_resource=True)
            value, count = v1.placeholder(dtype, start.shape), v1.placeholder(tf.int64, ())
            average = tf.train.ExponentialMovingAverage(0.6, num_updates=count)
            with tf.control_dependencies([weights.assign(value)]):
                step = average.apply([weights])
            session.run(v1.global_variables_initializer())
            found = []
            for number, row in enumerate(gradients):
                session.run(step, {value: row, count: number})
                found.append(session.run(average.average(weights)))
            results[f"average/{dtype}"] = np.stack(found)
    return results


def tensorflow_schedule(tf: Any) -> dict[str, Array]:
    """The papers' schedule at `EPOCHS`, with 100 steps an epoch."""
    rates = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for epoch in EPOCHS:
            step = tf.constant(round(100 * epoch))
            # Numbers would be rounded to float32 first.
            first, decay = (tf.constant(number, tf.float64) for number in (0.045, 0.94))
            rate = tf.compat.v1.train.exponential_decay(first, step, 200, decay, staircase=True)
            rates.append(session.run(rate))
    return {"schedule/epochs": np.array(EPOCHS), "schedule/paper": np.array(rates)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("library", choices=["torch", "tensorflow"])
    library = parser.parse_args().library
    make_torch() if library == "torch" else make_tensorflow()


if __name__ == "__main__":
    main()
