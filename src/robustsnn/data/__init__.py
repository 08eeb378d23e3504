"""Labelled samples in memory, data sets, and augmentation."""

from robustsnn.data.augment import Augment
from robustsnn.data.contract import a_network, answers
from robustsnn.data.events import Events, read_nmnist, read_npz
from robustsnn.data.reading import as_samples
from robustsnn.data.recordings import nmnist
from robustsnn.data.samples import Dataset, Samples, split
from robustsnn.data.simulated import digits_events
from robustsnn.data.sources import DATASETS, check_name, digits, load_dataset, whereabouts

__all__ = [
    "DATASETS",
    "Augment",
    "Dataset",
    "Events",
    "Samples",
    "a_network",
    "answers",
    "as_samples",
    "check_name",
    "digits",
    "digits_events",
    "load_dataset",
    "nmnist",
    "read_nmnist",
    "read_npz",
    "split",
    "whereabouts",
]
