import pytest
import torch

from snnlib import encoders
from snnlib.encoders import mlp


def test_layers_and_parameters_of_the_source():
    encoder = mlp(784, 128, 128, 32, seed=0)
    assert sum(p.numel() for p in encoder.parameters()) == 121_120
    assert [type(layer).__name__ for layer in encoder] == (
        ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    )
    assert encoder(torch.zeros(5, 1, 28, 28)).shape == (5, 32)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second, other = (mlp(4, 3, 2, seed=seed)[1].weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("widths", [(), (3,), (3, 0)])
def test_bad_widths(widths):
    with pytest.raises(ValueError, match="two positive integers, got"):
        mlp(*widths, seed=0)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_order(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert encoders.device.__wrapped__() == torch.device(chosen)


def test_the_device_is_chosen_once():
    assert encoders.device() is encoders.device()
