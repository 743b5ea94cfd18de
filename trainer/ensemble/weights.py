"""How much each of several models counts, and at which temperature, fitted to labels with NumPy and SciPy.

`scores` is float [M, N, C]: M members' scores of N faces for C classes, each row summing to 1. `labels` is [N].
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from trainer.networks.scores import TINY, temper, to_numpy

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]

# A member below this share of the vote costs a full forward pass and moves next to nothing: it is left out.
SMALLEST_WEIGHT = 0.01
# exp(+-3): from 20 times sharper to 20 times flatter.
LOG_TEMPERATURES = (-3.0, 3.0)


def hard_vote(scores: Floats) -> NDArray[np.float64]:
    """Each class's share of the members' first choices, [M, N, C] -> [N, C].

    The uniform mean of the scores counts as one voter more. It cannot outvote a majority, so that it decides ties and
    nothing else, and keeps the log-loss finite where nobody chose the label.
    """
    members, _, classes = scores.shape
    votes = np.eye(classes)[scores.argmax(axis=2)].sum(axis=0)
    share: NDArray[np.float64] = (votes + scores.mean(axis=0, dtype=np.float64)) / (members + 1)
    return share


def uniform(scores: Floats, _: Labels) -> NDArray[np.float64]:
    """The same weight [M] for each member, whatever the labels."""
    return np.full(len(scores), 1 / len(scores))


def greedy(scores: Floats, labels: Labels, rounds: int = 50) -> NDArray[np.float64]:
    """Weights [M] by forward selection with replacement (Caruana et al. 2004, section 2).

    Starts empty; each round adds the member (again, perhaps) with which the mean has the lowest log-loss. The
    selection of the best round is returned: a member's weight is the share of that selection that it makes up.
    """
    picked = _likelihoods(scores, labels)
    total = np.zeros(picked.shape[1])
    counts = np.zeros(len(scores))
    best, best_loss = counts, np.inf
    for size in range(1, rounds + 1):
        losses = -np.log((total + picked) / size).mean(axis=1)
        choice = int(losses.argmin())
        total += picked[choice]
        counts[choice] += 1
        if losses[choice] < best_loss:
            best, best_loss = counts.copy(), losses[choice]
    return _pruned(best / best.sum())


def simplex(scores: Floats, labels: Labels) -> NDArray[np.float64]:
    """Weights [M], at least 0 and summing to 1, that minimise the log-loss of the weighted mean.

    The problem is convex, so that sequential quadratic programming finds the one minimum.
    """
    picked = _likelihoods(scores, labels)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixture = np.maximum(weights @ picked, TINY)
        return float(-np.log(mixture).mean()), -(picked / mixture).mean(axis=1)

    found = minimize(
        loss,
        uniform(scores, labels),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(scores),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 200},
    )
    return _pruned(found.x)


def fit_temperature(scores: Floats, labels: Labels) -> float:
    """The temperature at which `scores` [N, C] have the lowest log-loss (Guo et al. 2017, section 4.2).

    Above 1 the model was too sure of itself, below 1 not sure enough. The top class stays what it was.
    """

    def loss(log_temperature: float) -> float:
        scaled = to_numpy(temper(scores, float(np.exp(log_temperature))))
        return float(-np.log(_likelihoods(scaled[None], labels)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def _likelihoods(scores: Floats, labels: Labels) -> NDArray[np.float64]:
    """What each member gives the label: [M, N, C] -> [M, N], kept off zero for the logarithm."""
    return np.maximum(scores[:, np.arange(len(labels)), labels].astype(np.float64), TINY)


def _pruned(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    # With a hundred members all could be small; the largest always stays.
    kept = np.where(weights >= min(SMALLEST_WEIGHT, weights.max()), weights, 0)
    share: NDArray[np.float64] = kept / kept.sum()
    return share
