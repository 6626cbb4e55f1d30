"""Whether a crop looks like those on which a network was trained, by the features of its trunk."""

from dataclasses import dataclass

import numpy as np

#: Share of validation crops inside of the band.
BAND = 0.999
#: Training crops needed for each feature; from fewer the covariance is not known well enough.
_CROPS_A_FEATURE = 4
#: Part of the mean variance that is added to every variance, because trunk features depend on each other.
_SHRINKAGE = 1e-3


@dataclass(frozen=True)
class Familiar:
    """Mean and precision of the features of training crops, and the band in which validation crops lie.

    Attributes:
      mean: (S,). precision: (S, S), the inverse of the covariance. limit: largest score inside of the band.
    """

    mean: np.ndarray
    precision: np.ndarray
    limit: float

    def score(self, features: np.ndarray) -> np.ndarray:
        """The squared Mahalanobis distance from the mean, over S: (..., S) -> (...), about 1 for training crops."""
        away = features - self.mean
        return np.einsum("...i,ij,...j->...", away, self.precision, away) / len(self.mean)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Which features (..., S) lie inside of the band: (...) bool."""
        return self.score(features) <= self.limit


def fit(training: np.ndarray, validation: np.ndarray) -> Familiar | None:
    """From features of training crops (N, S) and validation crops (M, S); None if there are too few of them."""
    size = training.shape[1]
    if len(training) < _CROPS_A_FEATURE * size or not len(validation):
        return None
    training = training.astype(np.float64)
    covariance = np.cov(training.T)
    covariance += np.eye(size) * (_SHRINKAGE * np.trace(covariance) / size + 1e-12)
    found = Familiar(training.mean(0), np.linalg.inv(covariance), np.inf)
    return Familiar(found.mean, found.precision, float(np.quantile(found.score(validation), BAND)))
