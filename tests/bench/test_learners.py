"""Minincep as a learner: the loop that is timed does learn, from the weights in the file."""

from pathlib import Path
from typing import Any

import pytest

from minincep.bench import learners
from minincep.bench.players import pictures


def test_minincep_learns_what_is_in_the_file(tmp_path: Path) -> None:
    import minincep as mi
    from minincep.autograd import no_grad

    config: dict[str, Any] = {"width": 0.05, "blocks": (1, 1, 1), "batch_norm_gamma": True}
    network = mi.create_model(
        "inception_v4", num_classes=learners.CLASSES, dropout_rate=0.0, **config
    )
    mi.save(network, tmp_path / "net.h5")
    x = pictures(2, 75)
    mine = learners.Minincep()
    mine.load(tmp_path / "net.h5", mi.get_num_threads(), x)
    losses = [float(mine.run(x)[0]) for _ in range(2)]
    with no_grad():
        logits = network.train()(mi.Tensor(x))
        loss = mi.ops.softmax_cross_entropy(
            logits, learners.labels(2), label_smoothing=learners.SMOOTHING
        )
    assert losses[0] == pytest.approx(loss.item(), rel=1e-5)
    assert losses[1] != losses[0]
    assert learners.labels(3).tolist() == [0, 37, 74]
