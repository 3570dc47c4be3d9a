"""`Network`: a chain of definitions from pictures to an answer, with named end points."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minincep.autograd.tensor import Tensor
from minincep.models.preprocessing import Preprocessing, shape_hint
from minincep.nn.combinators import Branch, Chain, Repeat, Settings, Side
from minincep.nn.module import endpoints
from minincep_kernels.errors import ConfigError, ShapeError

SMALLEST = 75  # pixels: leaves a map of 1 x 1 before the pooling, in all three networks


class Network(Chain):
    """Pictures (N, H, W, 3) in [-1, 1], channels last, at least 75 x 75 -> the network's answer.

    Attributes
    ----------
    architecture
        Name by which `create_model` makes it.
    config
        All arguments of `create_model`, defaults included.
    preprocessing
        How pictures are prepared.
    labels
        Names of the classes, if they are known.
    source
        Where the weights come from, in words.

    Raises
    ------
    ShapeError
        When called with something else than (N, H, W, 3) of at least 75 x 75.
    """

    architecture: str
    config: Mapping[str, Any]
    preprocessing: Preprocessing
    labels: Sequence[str] | None
    source: str

    def __init__(
        self,
        architecture: str,
        config: Mapping[str, Any],
        parts: Branch,
        settings: Settings,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(parts, 3, settings)
        self.architecture = architecture
        self.config = config
        self.preprocessing = preprocessing
        self.labels = None
        self.source = ""
        for definition, part in zip(parts, self.parts, strict=True):
            if not isinstance(part, Repeat | Side):
                part.endpoint = definition.name
        self.place()

    def forward(self, x: Tensor) -> Tensor:
        if len(x.shape) != 4 or x.shape[3] != 3 or min(x.shape[1:3]) < SMALLEST or not x.shape[0]:
            raise ShapeError(
                f"{self.architecture} takes pictures (N, H, W, 3) of at least {SMALLEST} x "
                f"{SMALLEST} pixels, got {x.shape}{shape_hint(x.shape)}"
            )
        return super().forward(x)

    def endpoint_names(self) -> list[str]:
        """All end points, in the order of the network."""
        names = []
        for _, module in self.modules():
            if isinstance(module, Side):
                names.append(module.name)
            elif module.endpoint:
                names.append(module.endpoint)
        return names

    def run_endpoints(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Run the network, and give what comes out at the end points: name -> (N, ...).

        The auxiliary head and other side ways run only when their end point is asked for, in
        training too.  So a training loop that wants the auxiliary head says so, ce being
        `ops.softmax_cross_entropy` and 0.4 the weight in the released code:

            out = net.run_endpoints(x, ["Logits", "AuxLogits"])
            loss = ops.add(ce(out["Logits"], y), ops.scale(ce(out["AuxLogits"], y), factor=0.4))

        Raises
        ------
        ConfigError
            If there is no end point of a name.
        """
        self.check_endpoints(names)
        with endpoints(names) as found:
            self(x)
        return found

    def check_endpoints(self, names: Collection[str]) -> None:
        """Raise ConfigError, with the nearest name, if there is no end point of a name."""
        known = self.endpoint_names()
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, cutoff=0)
                raise ConfigError(
                    f"{self.architecture} has no end point {name!r}; the nearest is {near[0]!r}, "
                    f"all are: {', '.join(known)}"
                )
