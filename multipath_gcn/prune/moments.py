r"""Mean and covariance of channels, of which batch norms say much without data.

With :math:`x \sim N(\beta, S)` after a batch norm, :math:`\sigma_i^2 = S_{ii}`, :math:`a = \beta_i / \sigma_i`,
:math:`c = \beta_j / \sigma_j`, correlation :math:`\rho`, :math:`q^2 = 1 - \rho^2`, and :math:`R = \max(x, 0)`:

.. math::
    E[R_i] &= \beta_i \Phi(a) + \sigma_i \varphi(a), \\
    E[R_i R_j] &= \beta_i \beta_j P + \beta_i \sigma_j (C + \rho A) + \beta_j \sigma_i (A + \rho C)
                  + \sigma_i \sigma_j (\rho P - \rho a A - \rho c C + q^2 d),

with :math:`P = \Phi_2(a, c; \rho)`, :math:`A = \varphi(a) \Phi((c - \rho a) / q)`,
:math:`C = \varphi(c) \Phi((a - \rho c) / q)` and :math:`d` the density of the two at :math:`(a, c)`.
"""

import numpy as np
from scipy.special import ndtr, owens_t

CONSTANT = 1e-12  # a deviation below this part of the mean is none


def rectified(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [C] and covariance [C, C] after ReLU, of normal channels with these."""
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    constant = deviation <= CONSTANT * np.maximum(1, np.abs(mean))
    sigma = np.where(constant, 1, deviation)
    a = mean / sigma
    rho = np.clip(covariance / np.outer(sigma, sigma), -1 + 1e-12, 1 - 1e-12)
    np.fill_diagonal(rho, 1 - 1e-15)
    first = mean * ndtr(a) + sigma * _density(a)
    second = _product(mean[:, None], sigma[:, None], a[:, None], mean[None], sigma[None], a[None], rho)
    np.fill_diagonal(second, (mean**2 + sigma**2) * ndtr(a) + mean * sigma * _density(a))
    found = second - np.outer(first, first)
    found[constant], found[:, constant] = 0, 0
    return np.where(constant, np.maximum(mean, 0), first), found


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def _product(b_i, s_i, a, b_j, s_j, c, rho) -> np.ndarray:
    q = np.sqrt((1 - rho) * (1 + rho))
    both = normal_pair(a, c, rho)
    A, C = _density(a) * ndtr((c - rho * a) / q), _density(c) * ndtr((a - rho * c) / q)
    qqd = q * np.exp(-((a - c) ** 2 + 2 * (1 - rho) * a * c) / (2 * q * q)) / (2 * np.pi)
    inner = rho * both - rho * a * A - rho * c * C + qqd
    return b_i * b_j * both + b_i * s_j * (C + rho * A) + b_j * s_i * (A + rho * C) + s_i * s_j * inner


def normal_pair(h: np.ndarray, k: np.ndarray, rho: np.ndarray) -> np.ndarray:
    r"""P(X < h, Y < k) of standard normal X, Y with correlation rho, by Owen's T (Owen, 1956)."""
    h, k = np.where(h == 0, 1e-300, h), np.where(k == 0, 1e-300, k)
    q = np.sqrt((1 - rho) * (1 + rho))
    signs_differ = (h * k < 0) | ((h * k == 0) & (np.sign(h) != np.sign(k)))
    with np.errstate(over="ignore"):
        t = owens_t(h, (k / h - rho) / q) + owens_t(k, (h / k - rho) / q)
    return (ndtr(h) + ndtr(k)) / 2 - t - np.where(signs_differ, 0.5, 0)
