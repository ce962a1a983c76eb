"""The detector: what comes out of it, what it looks at, and what it leaves alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from snnlib.detection.detector import STRIDE, Detector, distance_map

LOOKS = ("difference", "both", "tested")


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def detector(looks="difference", kinds=6, seed=0):
    return Detector(kinds, looks, seed=seed).eval()


@pytest.mark.parametrize("kinds", [1, 6])
@pytest.mark.parametrize("looks", LOOKS)
@torch.inference_mode()
def test_each_cell_is_told_of(looks, kinds):
    network = detector(looks, kinds)
    pairs = noise(3, 2, 40, 64)
    assert network.embed(pairs[:, :1]).shape == (3, 64, 5, 8)
    heat, sides, embeddings = network.see(pairs)
    assert heat.shape == (3, 1, 5, 8)
    assert sides.shape == (3, 4, 5, 8)
    assert embeddings.shape == (3, 64, 5, 8)
    assert network(pairs).shape == (3, 5 + kinds, 5, 8)
    assert distance_map(network, pairs).shape == (3, 5, 8)


@pytest.mark.parametrize("looks", LOOKS)
@torch.inference_mode()
def test_all_that_is_said_is_what_is_seen_and_a_layer_for_kinds(looks):
    network, pairs = detector(looks), noise(2, 2, 24, 32)
    heat, sides, embeddings = network.see(pairs)
    said = network(pairs)
    weights, bias = network.kinds.weight[:, :, 0, 0], network.kinds.bias
    logits = torch.einsum("kd,bdhw->bkhw", weights, embeddings.clamp(min=0))
    expected = torch.cat([heat, sides, logits + bias[:, None, None]], dim=1)
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-5)
    assert (sides > 0).all()
    assert (embeddings < 0).any()  # so they are not cut at 0


@pytest.mark.parametrize("looks", LOOKS)
def test_the_same_seed_gives_the_same_weights(looks):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, other, third = (Detector(6, looks, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["encoder.1.weight"], third["encoder.1.weight"])
    assert not torch.equal(one["kinds.weight"], third["kinds.weight"])


def test_before_it_learns_a_detector_expects_few_defects():
    with torch.inference_mode():
        heat = detector().see(noise(2, 2, 64, 64))[0]
    assert heat.sigmoid().mean() < 0.05


def test_the_head_looks_at_what_it_is_given():
    pairs = noise(2, 2, 32, 32)
    other_template, other_tested = pairs.clone(), pairs.clone()
    other_template[:, 0] = noise(2, 32, 32, seed=1)
    other_tested[:, 1] = noise(2, 32, 32, seed=1)
    with torch.inference_mode():
        for looks in LOOKS:
            network = detector(looks)
            said = network(pairs)
            assert torch.equal(said, network(other_template)) == (looks == "tested")
            assert not torch.equal(said, network(other_tested))


@pytest.mark.parametrize(("looks", "parts"), [("difference", 3), ("both", 2), ("tested", 1)])
@torch.inference_mode()
def test_only_a_head_on_the_difference_is_given_it(looks, parts):
    network, pairs, caught = detector(looks), noise(1, 2, 32, 32), []
    network.trunk.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    network.see(pairs)
    template, tested = network.embed(pairs[:, :1]), network.embed(pairs[:, 1:])
    all_parts = [template, tested, (template - tested).abs()]
    expected = torch.cat([tested] if looks == "tested" else all_parts[:parts], dim=1)
    torch.testing.assert_close(caught[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((6, "twice"), "looks must be one of difference, both, tested; got 'twice'"),
        ((0, "both"), "there must be at least one kind, got 0"),
    ],
)
def test_what_no_detector_can_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        Detector(*arguments, seed=0)


@pytest.mark.parametrize("looks", LOOKS)
@torch.inference_mode()
def test_what_is_moved_by_a_cell_is_seen_a_cell_further(looks):
    network, pairs = detector(looks).double(), noise(1, 2, 104, 120).double()
    moved = torch.zeros_like(pairs)
    moved[..., STRIDE:, 2 * STRIDE :] = pairs[..., :-STRIDE, : -2 * STRIDE]
    for half in (0, 1):
        here, there = (network.embed(of[:, [half]]) for of in (pairs, moved))
        # The rim of a picture is seen two cells deep at most.
        torch.testing.assert_close(there[..., 3:-2, 4:-2], here[..., 2:-3, 2:-4])
    for here, there in zip(network.see(pairs), network.see(moved)):
        # Each of the three layers above looks a cell further.
        torch.testing.assert_close(there[..., 6:-5, 7:-5], here[..., 5:-6, 5:-7])
        assert there[..., 6:-5, 7:-5].numel() > 0


@torch.inference_mode()
def test_distances_are_norms_of_differences():
    network, pairs = detector(), noise(2, 2, 24, 40)
    found = distance_map(network, pairs).numpy()
    template, tested = (network.embed(pairs[:, [k]]).numpy() for k in (0, 1))
    for picture, row, column in np.ndindex(found.shape):
        apart = template[picture, :, row, column] - tested[picture, :, row, column]
        expected = np.sqrt((apart.astype(float) ** 2).sum())
        assert found[picture, row, column] == pytest.approx(expected, rel=1e-4)
    assert (found > 0).all()
    torch.testing.assert_close(distance_map(network, pairs.flip(1)), torch.from_numpy(found))


@pytest.mark.parametrize("looks", LOOKS)
@torch.inference_mode()
def test_a_picture_is_no_distance_from_itself(looks):
    network, picture = detector(looks), noise(2, 1, 32, 48)
    twice = picture.expand(-1, 2, -1, -1)
    assert not distance_map(network, twice).any()
    for said, again in zip(network.see(twice), network.see(twice.flip(1))):
        assert torch.equal(said, again)


@pytest.mark.parametrize("looks", LOOKS)
def test_all_weights_learn(looks):
    network = Detector(6, looks, seed=0)
    functional.softplus(network(noise(2, 2, 32, 32))).sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
