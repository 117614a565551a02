"""What *Distil* offers, in words: networks with their size, efforts.

The sizes are written down because counting parameters needs torch; a test builds the networks and
compares.
"""

import re
from typing import NamedTuple

from napari_graphflow.config import Effort
from napari_graphflow.networks import NETWORKS


class Words(NamedTuple):
    """A name for the window, and a line below it."""

    title: str
    text: str


#: Parameters of each network at its published width, one channel and two classes, by dimension.
PARAMETERS: dict[str, dict[int, int]] = {
    "unet": {2: 7_782_882, 3: 5_658_898},
    "unetpp": {2: 36_450_632, 3: 6_598_776},
    "fanet": {2: 38_292_290, 3: 4_032_434},
    "swin_unetr": {2: 6_302_228, 3: 15_703_004},
    "trans_unet": {2: 105_269_794, 3: 8_321_962},
    "raunet": {2: 22_137_122, 3: 4_098_090},
    "pspnet": {2: 46_705_474, 3: 6_718_450},
    "mobile_unet": {2: 4_682_323, 3: 1_030_383},
    "mobilenet_v2": {2: 2_225_858, 3: 646_274},
    "resnet18": {2: 11_171_266, 3: 2_078_674},
    "erfnet": {2: 2_062_872, 3: 824_422},
    "enet": {2: 348_998, 3: 634_072},
}

EFFORTS: dict[Effort, Words] = {
    "quick": Words("quick", "to see whether it works"),
    "overnight": Words("overnight", "a student worth using"),
    "best": Words("best", "until nothing is gained"),
}


def network_title(name: str) -> str:
    """The name of a network as its paper writes it."""
    return re.split(r"[:,(]", NETWORKS[name].text)[0].strip() if name in NETWORKS else name


def students() -> list[str]:
    """Networks that can be trained, those meant as students first."""
    return sorted(NETWORKS, key=lambda name: NETWORKS[name].role != "student")


def teachers() -> list[str]:
    """Networks that can be trained, those meant as teachers first."""
    return sorted(NETWORKS, key=lambda name: NETWORKS[name].role != "teacher")
