"""The station of the connector: pins for tiles, OK for good, three cameras before it."""

from torch import nn

from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import SOURCE, unit_space
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.networks import PINS
from snnlib.station.station import Station

__all__ = ["connector_station"]


def connector_station(
    encoder: nn.Module,
    train: ImageSet,
    calibration: ImageSet,
    *,
    front: nn.Module,
    method: str = "quantile",
    false_alarms: float = 0.005,
) -> Station:
    """Place the anchors and the limit of a station that judges maps.

    Parameters
    ----------
    encoder : torch.nn.Module
        Trained on what `front` puts out.
    train, calibration : ImageSet
        Raw maps of training parts, and of parts that were not trained on.
    front : torch.nn.Module
        What is done to maps before, such as `fit_front` learns.
    method, false_alarms
        How the limit is set, as for `snnlib.station.station.Station.fit`.

    Returns
    -------
    Station
        Of maps from the simulated cell it also takes the three images of a part. The transform
        behind the published maps is not known.

    Raises
    ------
    ValueError
        As `snnlib.station.station.Station.of_encoder`.
    """
    return Station.of_encoder(
        encoder,
        train,
        calibration,
        good=OK,
        tiles=PINS,
        front=front,
        transform=unit_space() if train.source == SOURCE else None,
        method=method,
        false_alarms=false_alarms,
    )
