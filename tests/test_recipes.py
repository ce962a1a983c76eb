"""A page and its table train by one recipe: what is on record, and what the posts say of theirs."""

from dataclasses import asdict

import pytest

from snnlib.book import recipes
from snnlib.book.recipes import (
    BETTER_A,
    BETTER_B,
    DIGITS_CNN,
    MAP_CNN,
    MAP_CNN_DRAWN,
    PIN_CNN,
    POST_A,
    POST_B,
    POST_C,
    Recipe,
)
from snnlib.book.results import read_results

FIELDS = {"pairs": "examples", "triplets": "examples", "width": "widths"}


@pytest.mark.parametrize(
    ("table", "case", "recipe"),
    [
        ("mnist_pairs", "source recipe", POST_A),
        ("mnist_pairs", "better recipe", BETTER_A),
        ("fashion_triplets", "source recipe", POST_B),
        ("fashion_triplets", "better recipe", BETTER_B),
    ],
)
def test_what_is_on_record_was_trained_by_the_recipe(table, case, recipe):
    run = read_results(table).where(case=case).runs.iloc[0]
    said = asdict(recipe) | {"widths": recipe.widths[-1]}
    checked = {name: said[FIELDS.get(name, name)] for name in run.index
               if FIELDS.get(name, name) in said}  # fmt: skip
    assert len(checked) >= 4
    assert run[list(checked)].to_dict() == checked


def test_the_recipes_of_the_posts():
    assert (POST_A.epochs, POST_A.examples, POST_A.batch, POST_A.rate) == (10, 60_000, 64, 0.05)
    assert (POST_B.epochs, POST_B.examples, POST_B.batch, POST_B.rate) == (10, 28_500, 32, 3e-5)
    assert (POST_C.epochs, POST_C.batch, POST_C.rate) == (30, 128, 5e-4)
    assert not any(post.fresh for post in (POST_A, POST_B, POST_C))


def test_an_epoch_of_drawn_triplets_shows_as_many_maps_as_one_of_batches():
    assert 3 * MAP_CNN_DRAWN.examples == MAP_CNN.examples * 10 * MAP_CNN.batch
    assert PIN_CNN.examples * 10 * PIN_CNN.batch == 1950  # of 2 000 training parts


def test_an_epoch_of_digits_shows_each_image_once():
    assert DIGITS_CNN.examples * 10 * DIGITS_CNN.batch == 60_000


def test_all_that_is_public_is_a_recipe():
    found = [getattr(recipes, name) for name in recipes.__all__ if name != "Recipe"]
    assert all(isinstance(recipe, Recipe) for recipe in found)
