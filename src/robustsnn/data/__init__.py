"""Labelled samples in memory, data sets, and augmentation."""

from robustsnn.data.augment import Augment
from robustsnn.data.contract import a_network, answers
from robustsnn.data.reading import as_samples
from robustsnn.data.samples import Dataset, Samples, split
from robustsnn.data.sources import DATASETS, check_name, digits, load_dataset, whereabouts

__all__ = [
    "DATASETS",
    "Augment",
    "Dataset",
    "Samples",
    "a_network",
    "answers",
    "as_samples",
    "check_name",
    "digits",
    "load_dataset",
    "split",
    "whereabouts",
]
