import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from snnlib.encoders import mlp
from snnlib.weights import check_weights, read_weights, write_weights

STATE = {"encoder": {"w": torch.arange(6.0).reshape(2, 3)}, "limit": 0.5, "names": ["OK", "31X10"]}


def test_what_is_written_is_read(tmp_path):
    file = tmp_path / "new" / "station.pt"
    write_weights(STATE, file)
    read = read_weights(file, ["encoder", "limit", "names"])
    assert torch.equal(read["encoder"]["w"], STATE["encoder"]["w"])
    assert (read["limit"], read["names"]) == (0.5, ["OK", "31X10"])
    assert [entry.name for entry in file.parent.iterdir()] == ["station.pt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "station.pt"
    write_weights(STATE, file)
    before = file.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_weights({"limit": 1.0}, file)
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_file_and_is_told(tmp_path):
    resource = pytest.importorskip("resource")
    file = tmp_path / "station.pt"
    write_weights(STATE, file)
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: like a disk with no more room.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"can't be written, and is left .*station\.pt'"):
            write_weights({"w": torch.zeros(1_000_000)}, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def save_again_and_again(file, value):
    for _ in range(20):
        write_weights({"first": torch.full((1000,), value), "last": value}, file)


def test_two_savers_do_not_mix_their_stations(tmp_path):
    file = tmp_path / "station.pt"
    save_again_and_again(file, 0.0)
    with ThreadPoolExecutor(2) as pool:
        savers = [pool.submit(save_again_and_again, file, value) for value in (1.0, 2.0)]
        while not all(saver.done() for saver in savers):
            read = read_weights(file, ["first", "last"])
            assert (read["first"] == read["last"]).all()
    for saver in savers:
        saver.result()
    assert list(tmp_path.iterdir()) == [file]


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder": Harmful()}, "station.pt")
    with pytest.raises(ValueError, match=r"station.pt can't be read") as told:
        read_weights("station.pt", ["encoder"])
    assert not (tmp_path / "harm").exists()
    # PyTorch's words advise to run it.
    expected = "station.pt can't be read (it holds something other than plain values and tensors)"
    assert str(told.value) == expected
    assert "weights_only" in str(told.value.__cause__)


@pytest.mark.parametrize("content", [b"", b"no weights", b".", b"\x80\x02h\x05.", None])
def test_broken_files(tmp_path, content):
    file = tmp_path / "station.pt"
    write_weights(STATE, file)
    file.write_bytes(file.read_bytes()[:200] if content is None else content)
    fault = r"station\.pt can't be read \(it is no file of weights, or only a part of one\)"
    with pytest.raises(ValueError, match=fault):
        read_weights(file, [])


@pytest.mark.parametrize("state", [3, ["encoder"], {"encoder"}, "encoder", torch.zeros(2)])
def test_files_without_entries(tmp_path, state):
    torch.save(state, tmp_path / "station.pt")
    fault = rf"station\.pt can't be read \(expected a dict, got {type(state).__name__}\)"
    with pytest.raises(ValueError, match=fault):
        read_weights(tmp_path / "station.pt", ["encoder"])


def test_missing_file_and_missing_entries(tmp_path):
    with pytest.raises(ValueError, match=r"none\.pt can't be read \(No such file or directory\)"):
        read_weights(tmp_path / "none.pt", [])
    write_weights(STATE, tmp_path / "station.pt")
    with pytest.raises(ValueError, match=r"station\.pt lacks \['anchors', 'camera'\]"):
        read_weights(tmp_path / "station.pt", ["camera", "anchors", "limit"])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (mlp(16, 9, 4, seed=0), r"'1\.bias' has shape \(9,\), expected \(8,\)"),
        (mlp(16, 8, 4, 4, seed=0), r"'5\.bias' has shape \(4,\), expected none"),
        (mlp(16, 4, seed=0), r"'1\.bias' has shape \(4,\), expected \(8,\)"),
    ],
)
def test_weights_of_another_network(other, message):
    encoder = mlp(16, 8, 4, seed=0)
    check_weights("a.pt", mlp(16, 8, 4, seed=1).state_dict(), encoder)
    with pytest.raises(ValueError, match="a.pt is of another encoder: " + message):
        check_weights("a.pt", other.state_dict(), encoder)


def test_numbers_of_numpy_can_be_read_back(tmp_path):
    state = {
        "limit": np.quantile([1.0, 2.0], 0.5),
        "tiles": (np.int64(3), 4),
        "names": [np.str_("OK")],
    }
    write_weights(state, tmp_path / "station.pt")
    read = read_weights(tmp_path / "station.pt", state)
    assert read == {"limit": 1.5, "tiles": (3, 4), "names": ["OK"]}
    assert type(read["limit"]) is float
