import numpy as np
import pytest

from snnlib.images import ImageSet, check_images, check_labels

IMAGES = np.zeros((4, 1, 2, 3), dtype=np.float32)
LABELS = np.array([0, 1, 0, 1])


def make(images=IMAGES, labels=LABELS):
    return ImageSet(images, labels, ("a", "b"), "made up")


def test_types_are_those_of_the_contract():
    image_set = make(IMAGES.astype(np.float64), LABELS.astype(np.int32))
    assert image_set.images.dtype == np.float32
    assert image_set.labels.dtype == np.int64
    assert len(image_set) == 4


def test_right_types_are_not_copied():
    assert np.shares_memory(make().images, IMAGES)


def test_take_keeps_order_and_source():
    taken = make().take(np.array([3, 0]))
    assert taken.labels.tolist() == [1, 0]
    assert taken.source == "made up"


def test_each_image_has_the_name_of_its_class():
    names = ImageSet(IMAGES, np.array([2, 0, 2, 1]), ("a", "b", "long"), "made up").names
    assert names.tolist() == ["long", "a", "long", "b"]
    assert names.dtype.kind == "U"
    assert make().take(np.array([3, 0])).names.tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:3], "4 images and 3 labels"),
        (IMAGES[:, 0], LABELS, r"4 dimensions .*\(4, 2, 3\)"),
        (IMAGES, LABELS[:, None], r"shape \(4, 1\)"),
        (IMAGES, LABELS + 1, r"0 … 1, got 2 at position 1"),
        (IMAGES, LABELS - 1, "got -1 at position 0"),
    ],
)
def test_bad_values(images, labels, message):
    with pytest.raises(ValueError, match=message):
        make(images, labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_named(bad):
    images = IMAGES.copy()
    images[2, 0, 1, 2] = bad
    with pytest.raises(ValueError, match=f"got {bad} in image 2, channel 0, row 1, column 2"):
        make(images)


def test_two_infinities_do_not_cancel():
    images = IMAGES.copy()
    images[0, 0, 0, :2] = np.inf, -np.inf
    with pytest.raises(ValueError, match="finite"):
        check_images(images)


@pytest.mark.parametrize("images", [IMAGES.astype(np.uint8), IMAGES.tolist()])
def test_images_of_a_wrong_type(images):
    with pytest.raises(TypeError, match=r"floating-point NumPy array, got (uint8|list)"):
        check_images(images)


def test_labels_of_a_wrong_type():
    with pytest.raises(TypeError, match="integers, got float64"):
        check_labels([0.0, 1.0])


def test_no_labels():
    with pytest.raises(ValueError, match="non-empty"):
        check_labels([])


def test_split_shares_no_image_and_keeps_the_classes(blobs):
    marked = ImageSet(
        np.arange(120, dtype=np.float32).reshape(-1, 1, 1, 1), blobs.labels, "abc", "numbered"
    )
    rest, part = marked.split(30, seed=1)
    assert np.bincount(part.labels).tolist() == [10, 10, 10]
    together = np.concatenate([rest.images, part.images]).ravel()
    assert sorted(together) == list(range(120))
    again = marked.split(30, seed=1)[1]
    assert np.array_equal(part.images, again.images)


def test_join_keeps_order():
    joined = make().join(make(IMAGES + 1, LABELS[::-1].copy()))
    assert joined.labels.tolist() == [0, 1, 0, 1, 1, 0, 1, 0]
    assert joined.images[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert joined.source == "made up"


def test_sets_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"one shape .*\(1, 2, 3\) and \(1, 2, 2\)"):
        make().join(make(IMAGES[..., :2]))
    others = ImageSet(IMAGES, LABELS, ("a", "c"), "made up")
    with pytest.raises(ValueError, match=r"same classes, got \('a', 'b'\) and \('a', 'c'\)"):
        make().join(others)


def test_class_means(blobs):
    means = blobs.class_means()
    assert means.labels.tolist() == [0, 1, 2]
    for k in range(3):
        expected = np.mean([x for x, y in zip(blobs.images, blobs.labels) if y == k], axis=0)
        np.testing.assert_allclose(means.images[k], expected, atol=1e-6)
    assert blobs.take(np.flatnonzero(blobs.labels != 1)).class_means().labels.tolist() == [0, 2]


def test_a_pixel_that_float32_cannot_hold_is_named():
    images = IMAGES.astype(np.float64)
    images[1, 0, 1, 2] = 1e39
    with pytest.raises(ValueError, match=r"too large for float32: 1e\+39 in image 1"):
        make(images=images)


def test_large_pixels_are_not_taken_for_infinite():
    """Their sum is."""
    check_images(np.full((2, 1, 2, 2), 1e308))


def test_class_means_are_added_up_in_double():
    images = np.full((200_000, 1, 1, 1), 100.1, dtype=np.float32)
    mean = ImageSet(images, np.zeros(200_000, int), ("a",), "x").class_means().images[0, 0, 0, 0]
    assert mean == np.float32(100.1)


def test_a_set_is_printed_in_a_line(blobs):
    expected = "ImageSet(120 images of 1 × 4 × 4, 3 classes: low, mid, high; source 'blobs')"
    assert repr(blobs) == expected
    digits = ImageSet(IMAGES[:1], np.array([7]), tuple("0123456789"), "one")
    expected = "ImageSet(1 image of 1 × 2 × 3, 10 classes: 0, 1, 2, 3, 4, 5, …; source 'one')"
    assert repr(digits) == expected
