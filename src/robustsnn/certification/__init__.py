"""Certification: lower bounds on what a network withstands, which no attack can break."""

from robustsnn.certification.certifying import certify
from robustsnn.certification.intervals import Bounds, IntervalCertificates, Intervals, bounds
from robustsnn.certification.registry import METHODS, Certified, method
from robustsnn.certification.smoothed import Smoothed, attack_smoothed
from robustsnn.certification.smoothing import GaussianCertificates, Smoothing
from robustsnn.certification.sparse import SparseCertificates, SparseSmoothing
from robustsnn.certification.task import ABSTAINS, Certificates, Method

__all__ = [
    "ABSTAINS",
    "METHODS",
    "Bounds",
    "Certificates",
    "Certified",
    "GaussianCertificates",
    "IntervalCertificates",
    "Intervals",
    "Method",
    "Smoothed",
    "Smoothing",
    "SparseCertificates",
    "SparseSmoothing",
    "attack_smoothed",
    "bounds",
    "certify",
    "method",
]
