"""Perturbed inputs for a trained network: Gaussian noise and the FGSM attack.

Pure functions over a torch module: nothing here knows of circuits. Magnitudes are in the units
of the inputs, and what is perturbed stays within the inputs' range, since the encoding is
periodic: an angle past the range would be read as another one inside it.
"""

from __future__ import annotations

import torch

from pilotcut.training.losses import Loss


def gaussian_noise(
    x: torch.Tensor, sigma: float, generator: torch.Generator, bounds: tuple[float, float]
) -> torch.Tensor:
    """Return inputs with independent normal noise on every feature.

    Parameters
    ----------
    x
        (samples, features).
    sigma
        Standard deviation.
    generator
        Where the noise is drawn from.
    bounds
        Least and greatest value of a feature; noise beyond is clipped.
    """
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return (x + sigma * noise).clamp(*bounds)


def fgsm(
    network: torch.nn.Module,
    loss: Loss,
    x: torch.Tensor,
    y: torch.Tensor,
    magnitude: float,
    bounds: tuple[float, float],
) -> torch.Tensor:
    """Return inputs moved by the fast gradient sign method, towards more loss.

    x' = x + magnitude · sign(∂ loss / ∂ x), clipped to the bounds.

    Parameters
    ----------
    network
        Must pass gradients to its inputs.
    loss
        Of outputs and targets.
    x, y
        Inputs (samples, features) and targets.
    magnitude
        How far every feature is moved.
    bounds
        Least and greatest value of a feature.

    References
    ----------
    I. Goodfellow, J. Shlens and C. Szegedy, arXiv:1412.6572.
    """
    return moved(x, input_gradient(network, loss, x, y), magnitude, bounds)


def input_gradient(
    network: torch.nn.Module, loss: Loss, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Return d loss / d inputs, (samples, features); weights' gradients stay as they are."""
    inputs = x.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(network(inputs), y), inputs)
    return gradient


def moved(
    x: torch.Tensor, gradient: torch.Tensor, magnitude: float, bounds: tuple[float, float]
) -> torch.Tensor:
    """Return inputs moved by `magnitude` along the signs of a gradient, within the bounds."""
    return (x + magnitude * gradient.sign()).clamp(*bounds)
