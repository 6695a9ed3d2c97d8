"""McNemar's exact test, and its form for several trainings on the same rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln


def exact_mcnemar(row_sums: npt.NDArray[np.int64]) -> float:
    """Two-sided exact p of no difference between the trained models on rows like these.

    row_sums: (rows,), seeds right by a minus seeds right by b. Under the null each row's difference
    is as likely with either sign, so the sum is a sum of k * (2 Binomial(n_k, 1/2) - n_k) over the
    sizes k; its distribution is computed in full. This is the exact, permutation form of McNemar's
    test for clustered pairs with a row as cluster (Durkalski et al. 2003, Stat. Med. 22:2417),
    and with one seed McNemar's exact test (McNemar 1947, Psychometrika 12:153).
    """
    sizes = np.bincount(np.abs(row_sums))
    distribution = np.ones(1)
    for size in range(1, len(sizes)):
        n = int(sizes[size])
        wins = np.arange(n + 1)
        log_ways = gammaln(n + 1) - gammaln(wins + 1) - gammaln(n - wins + 1)
        spread = np.zeros(size * n + 1)
        spread[::size] = np.exp(log_ways - n * np.log(2))
        distribution = np.convolve(distribution, spread)
    # Index i of `distribution` is a sum of 2 i - total, where total = sum of k n_k.
    total, observed = len(distribution) - 1, abs(int(row_sums.sum()))
    return min(1.0, 2 * float(distribution[(total + observed) // 2 :].sum()))
