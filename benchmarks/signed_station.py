"""The station that is signed off and put on the line: how its network is trained, and its rule."""

from functools import partial

from snnlib import losses
from snnlib.book.recipes import PIN_CNN
from snnlib.embedding import through
from snnlib.nsoartc.connector import connector_station
from snnlib.nsoartc.networks import fit_front, pin_cnn
from snnlib.sampling import BatchDataset
from snnlib.training import fit_one_cycle

SIGNED = {"method": "tolerance", "false_alarms": 0.01}


def station_of(train, calibration, seed, *, rounded=True):
    """The mined tile CNN on whitened maps, its batches shifted by pins, as a station."""
    front = fit_front(train, rounded=rounded)
    encoder = pin_cnn(train.class_names, seed=seed)
    fit_one_cycle(
        encoder,
        BatchDataset(through(front, train), PIN_CNN.examples, 10, PIN_CNN.batch, seed=seed),
        partial(losses.semi_hard, margin=PIN_CNN.margin),
        epochs=PIN_CNN.epochs,
        rate=PIN_CNN.rate,
        seed=seed,
        progress=False,
    )
    return connector_station(encoder, train, calibration, front=front, **SIGNED)
