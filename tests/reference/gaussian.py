"""Brute-force conditioning in the latent Gaussian model, by writing the whole joint covariance down.

Class c has prior pi_c and z ~ N(mu_c, I_k). Modality m has frames t = 0 .. T_m - 1 of width d_m:

    x_{m,t} = A_m z + B_m u_{m,t} + s_m eps_{m,t},    eps ~ N(0, I_d), independent everywhere
    u_{m,t} = rho_m u_{m,t-1} + sqrt(1 - rho_m^2) xi_{m,t},    u_{m,0} ~ N(0, I_r), private to the modality

Only the mean depends on the class, so one covariance serves all classes. Everything is float64 and dense.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr  # the standard normal distribution function
from scipy.stats import multivariate_normal


@dataclass(frozen=True)
class Posterior:
    """What the observed frames say. `missing` lists the unobserved entries (modality, frame, dimension) in the order
    of missing_mean and missing_cov: modalities as in `loadings`, then frames, then dimensions, the last fastest.
    Means and covariances are those of the mixture over classes."""

    class_probability: np.ndarray  # (C,)
    z_mean: np.ndarray  # (k,)
    z_cov: np.ndarray  # (k, k)
    missing: list  # of (m, t, j)
    missing_mean: np.ndarray  # (n,)
    missing_cov: np.ndarray  # (n, n)


def joint(loadings, means):
    """Mean (C, D) and covariance (D, D) of [z, every frame of every modality], and the entry behind each x coordinate.

    The first k coordinates are z; entries[i] = (m, t, j) is coordinate k + i.
    """
    means = np.asarray(means, dtype=float)
    classes, k = means.shape
    start, entries = {}, []  # start: first coordinate of each frame
    for m, (a, _, _, _, frames) in loadings.items():
        for t in range(frames):
            start[m, t] = k + len(entries)
            entries += [(m, t, j) for j in range(np.shape(a)[0])]

    size = k + len(entries)
    mean = np.zeros((classes, size))
    cov = np.zeros((size, size))
    mean[:, :k] = means
    cov[:k, :k] = np.eye(k)
    for (m, t), row in start.items():
        a, b, rho, s, _ = loadings[m]
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        d = len(a)
        rows = slice(row, row + d)
        for c in range(classes):
            mean[c, rows] = a @ means[c]
        cov[rows, :k] = a  # Cov(A z + ..., z) = A I
        cov[:k, rows] = a.T
        for (other, tau), column in start.items():
            a2 = np.asarray(loadings[other][0], dtype=float)
            block = a @ a2.T  # every pair of frames shares z
            if other == m:
                block = block + rho ** abs(t - tau) * (b @ b.T)  # a stationary AR(1) has correlation rho^lag
                if tau == t:
                    block = block + s**2 * np.eye(d)
            cov[rows, column : column + len(a2)] = block
    return mean, cov, entries


def condition(loadings, observed, x, means, priors):
    """Exact posterior of class, z and the unobserved entries given the observed frames.

    loadings: m -> (A (d, k), B (d, r), rho, s, T); observed: m -> bool (T,); x: m -> (T, d), read only where observed;
    means (C, k); priors (C,).
    """
    priors = np.asarray(priors, dtype=float)
    mean, cov, entries = joint(loadings, means)
    k = np.shape(means)[1]
    seen, values = [], []
    unknown = list(range(k))  # z first, then the missing entries
    missing = []
    for i, (m, t, j) in enumerate(entries):
        if observed[m][t]:
            seen.append(k + i)
            values.append(x[m][t][j])
        else:
            unknown.append(k + i)
            missing.append((m, t, j))
    values = np.array(values, dtype=float)

    spread = cov[np.ix_(unknown, unknown)]
    if seen:
        cross = cov[np.ix_(unknown, seen)]
        within = cov[np.ix_(seen, seen)]
        spread = spread - cross @ np.linalg.solve(within, cross.T)

    log_joint, centres = [], []
    with np.errstate(divide="ignore"):
        log_prior = np.log(priors)  # a class of prior 0 stays at 0
    for c in range(len(priors)):
        centre, log_density = mean[c, unknown], 0.0
        if seen:
            centre = centre + cross @ np.linalg.solve(within, values - mean[c, seen])
            log_density = multivariate_normal.logpdf(values, mean[c, seen], within)
        centres.append(centre)
        log_joint.append(log_prior[c] + log_density)
    weight = np.exp(np.array(log_joint) - max(log_joint))
    weight /= weight.sum()

    # Law of total covariance: the spread within a class, which all share, plus that of the class centres.
    total_mean = sum(p * centre for p, centre in zip(weight, centres))
    total_cov = spread.copy()
    for p, centre in zip(weight, centres):
        total_cov += p * np.outer(centre - total_mean, centre - total_mean)
    return Posterior(weight, total_mean[:k], total_cov[:k, :k], missing, total_mean[k:], total_cov[k:, k:])


def probit(z_mean, z_cov, w, b, sigma):
    """P(w_c . z + b_c + e > 0) for each row of w, with z ~ N(z_mean, z_cov) and e ~ N(0, sigma^2): (C,).

    Numerical integration over the standardised projection v = (w.z - its mean) / its deviation. z is taken as one
    Gaussian, so for a posterior over several classes this is not the mixture's probability.
    """

    def positive(score):
        if sigma == 0:
            return 1.0 if score > 0 else 0.0
        return ndtr(score / sigma)

    out = []
    for row, offset in zip(np.asarray(w, dtype=float), np.asarray(b, dtype=float)):
        centre = row @ z_mean + offset
        deviation = np.sqrt(row @ z_cov @ row)
        if deviation == 0:
            out.append(positive(centre))
            continue

        def integrand(v, centre=centre, deviation=deviation):
            return np.exp(-v * v / 2) / np.sqrt(2 * np.pi) * positive(centre + deviation * v)

        # Beyond 12 deviations there is less than 1e-32. The integrand turns on around v = -centre / deviation, within
        # some sigma / deviation; cutting there keeps a steep step from falling between the nodes.
        turn, breadth = -centre / deviation, 8 * sigma / deviation
        cuts = sorted({-12.0, 12.0, *np.clip([turn - breadth, turn, turn + breadth], -12, 12).tolist()})
        pieces = [quad(integrand, low, high, epsabs=1e-13)[0] for low, high in zip(cuts[:-1], cuts[1:])]
        out.append(sum(pieces))
    return np.array(out)
