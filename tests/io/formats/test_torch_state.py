"""Containers of tensors: names, and structures without end."""

from pathlib import Path

import pytest

from minincep.io.errors import WeightError
from minincep.io.formats import torch_state
from minincep.io.formats.torch_pickle import Storage, Tensor
from minincep.io.formats.torch_state import tensors

HERE = Path("net.pth")
TENSOR = Tensor(Storage("0", "float32", 1, 0, 1), 0, (1,), (1,))


def names(saved: object) -> list[str]:
    return list(tensors(HERE, saved))


def test_nested_names_are_joined() -> None:
    assert names({"b.c": TENSOR, "a": TENSOR}) == ["b.c", "a"]
    assert names({"state_dict": {"a": TENSOR}, "more": [{"x": 1}, (TENSOR, 7, TENSOR)]}) == [
        "state_dict.a",
        "more.1.0",
        "more.1.2",
    ]
    assert names({"optimizer": {3: {"momentum": TENSOR}}}) == ["optimizer.3.momentum"]
    assert names({"": TENSOR, "a": {"": TENSOR}}) == ["", "a."]


@pytest.mark.parametrize("saved", [{}, [], 1, None, "a", {"a": 1}, {"a": [{}, ()]}])
def test_no_tensors(saved: object) -> None:
    with pytest.raises(WeightError, match=r"holds no tensors; save model.state_dict\(\)"):
        names(saved)


def test_two_of_one_name() -> None:
    with pytest.raises(WeightError, match=r"two arrays are called 'a.b'"):
        names({"a.b": TENSOR, "a": {"b": TENSOR}})


def test_a_name_without_end() -> None:
    with pytest.raises(WeightError, match="is too long a name"):
        names({"a" * 300: {"b" * 300: TENSOR}})


def test_containers_in_themselves() -> None:
    circle: dict[str, object] = {"a": TENSOR}
    circle["again"] = circle
    with pytest.raises(WeightError, match="far more containers or arrays"):
        names(circle)


def test_containers_that_are_there_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_state, "MOST_ARRAYS", 1000)
    monkeypatch.setattr(torch_state, "MOST_PARTS", 10_000)
    value: object = [TENSOR, TENSOR]
    for _ in range(14):
        value = [value] * 20
    with pytest.raises(WeightError, match="far more containers or arrays"):
        names(value)
    with pytest.raises(WeightError, match="far more containers or arrays"):
        names([TENSOR] * 1001)
    plain: object = list(range(1000))
    for _ in range(2):
        plain = [plain] * 4
    with pytest.raises(WeightError, match="far more containers or arrays"):
        names({"a": TENSOR, "b": plain})
