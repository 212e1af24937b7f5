"""Registry of partition schemes: the name on the command line and its class."""

from partitions.bases import BASES
from partitions.gain import Gain
from partitions.noise import FeatureNoise, LabelNoise
from partitions.populations import Populations
from partitions.protocol import Partition
from partitions.reshuffle import Reshuffle
from partitions.rotation import Rotation

PARTITIONS: dict[str, type[Partition]] = {
    **BASES,
    "feature_noise": FeatureNoise,
    "rotation": Rotation,
    "gain": Gain,
    "label_noise": LabelNoise,
    "populations": Populations,
    "reshuffle": Reshuffle,
}
