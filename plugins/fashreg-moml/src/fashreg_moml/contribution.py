"""How much each objective moves rows and proxies: norms of its gradients, measured without touching the backbone.

The three objectives share no tensor: pairs move the rows X, the repulsion moves the proxies W, the proxy objective
moves both. So pairs are compared with it on X, and the repulsion on W. A gradient is taken as on the sphere, whatever
the lengths are: for a row f with direction x, |f| (I - x x^T) dL/df.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fashreg.functional.similarity import totals_dtype, with_gradient

PAIR_ON_ROWS, PROXY_ON_ROWS, PROXY_ON_PROXIES, REPULSION_ON_PROXIES = range(4)
_NO_LENGTH = 1e-12
_ROWS = 1024  # of the proxies' gradients looked at together


class Contribution(nn.Module):
    """Running means of the four norms, a step in which one is 0 left out of its mean; all of it in buffers.

    means (4,): exponential averages, not yet corrected for their start; seen (4,): measurements in each; latest (4,).
    cosine: average of the cosine between pairs' and proxies' pull on the rows. length: mean of the proxies' lengths.
    """

    means: Tensor
    seen: Tensor
    latest: Tensor
    cosine: Tensor
    length: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("means", torch.zeros(4))
        self.register_buffer("latest", torch.zeros(4))
        self.register_buffer("seen", torch.zeros(4, dtype=torch.int64))
        self.register_buffer("cosine", torch.zeros(()))
        self.register_buffer("length", torch.zeros(()))

    @torch.no_grad()
    def take(self, norms: Tensor, cosine: Tensor, proxies: Tensor) -> None:
        """Norms (4,), 0 or not a number where there is nothing to measure, and the cosine of this step."""
        self.length.copy_(torch.linalg.vector_norm(proxies, dim=1).mean())
        norms = norms.to(self.means.dtype)
        real = torch.isfinite(norms) & (norms > 0)
        self.latest.copy_(torch.where(real, norms, 0.0))
        moved = self.momentum * self.means + (1 - self.momentum) * norms
        self.means.copy_(torch.where(real, moved, self.means))
        self.seen.add_(real.long())
        both = real[PAIR_ON_ROWS] & real[PROXY_ON_ROWS]
        first = self.seen[PAIR_ON_ROWS] <= 1
        averaged = torch.where(first, cosine, self.momentum * self.cosine + (1 - self.momentum) * cosine)
        self.cosine.copy_(torch.where(both, averaged.to(self.cosine.dtype), self.cosine))

    def norms(self) -> Tensor:
        """The four averages, corrected for their start; 0 for what was never measured."""
        return corrected(self.means, self.seen, self.momentum)

    def shares(self, weights: Tensor) -> dict[str, Tensor]:
        """Share of the pairs in what moves the rows, and of the repulsion in what moves the proxies, in 0..1.

        Of the step that was measured last, not of the means, which balanced weights make equal to their aims.
        weights (3,): of pair, proxy, repulsion.
        """
        moved = self.latest * weights[[0, 1, 1, 2]]
        x, w = moved[:2].sum(), moved[2:].sum()
        return {
            "pair": torch.where(x > 0, moved[PAIR_ON_ROWS] / x, 0.0),
            "repulsion": torch.where(w > 0, moved[REPULSION_ON_PROXIES] / w, 0.0),
        }

    def parts(self, weights: Tensor, there: Collection[str]) -> dict[str, Tensor]:
        """What the log is told of the objectives that are `there`."""
        told = {f"share[{name}]": share for name, share in self.shares(weights).items() if name in there}
        if "pair" in there:
            told["cosine[pair, proxy]"] = self.cosine.clone()
        return {**told, "length[proxies]": self.length.clone()}


def corrected(means: Tensor, seen: Tensor, momentum: float) -> Tensor:
    """Exponential averages that began at 0, corrected for that; 0 for what was never seen."""
    known = 1 - momentum ** seen.to(means.dtype)
    return torch.where(seen > 0, means / known.clamp_min(torch.finfo(known.dtype).tiny), 0.0)


def measure(values: Mapping[str, Tensor], rows: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
    """Norms (4,) of the gradients of values "pair", "proxy", "repulsion", and the cosine of the first two on the rows.

    rows (B, D), proxies (C, D): what the values were computed from. Over all processes: the root of the sum of squares.
    """
    pair, _ = _gradients(values.get("pair"), rows, proxies)
    by_rows, by_proxies = _gradients(values.get("proxy"), rows, proxies)
    with torch.no_grad():
        pulls = [on_sphere(pair, rows), on_sphere(by_rows, rows)]
        wide = totals_dtype(rows)
        none = torch.zeros((), dtype=wide, device=rows.device)
        squares = [none if pull is None else pull.square().sum(dtype=wide) for pull in pulls]
        squares.append(_square(by_proxies, proxies, none))
        del by_proxies  # as large as the proxies, and another of that size follows
        squares.append(_square(_gradients(values.get("repulsion"), rows, proxies)[1], proxies, none))
        along = none if pulls[0] is None or pulls[1] is None else (pulls[0] * pulls[1]).sum(dtype=wide)
        sums = over_processes(torch.stack([*squares, along]))
        norms = sums[:4].sqrt()
        length = norms[0] * norms[1]
        return norms, torch.where(length > 0, sums[4] / length, 0.0)


def norm_on_rows(value: Tensor, rows: Tensor) -> Tensor:
    """Norm () of the gradient of one value on the rows (B, D), over all processes; 0 where it has none."""
    pull = on_sphere(_gradients(value, rows, rows)[0], rows)
    wide = totals_dtype(rows)
    none = torch.zeros((), dtype=wide, device=rows.device)
    return over_processes(none if pull is None else pull.square().sum(dtype=wide)).sqrt()


def _square(gradient: Tensor | None, proxies: Tensor, none: Tensor) -> Tensor:
    """Sum of squares of a gradient (C, D) on the sphere, some rows at a time."""
    if gradient is None:
        return none
    total = none.clone()
    for part, rows in zip(gradient.split(_ROWS), proxies.detach().split(_ROWS), strict=True):  # type: ignore[no-untyped-call]
        found = on_sphere(part, rows)
        assert found is not None
        total += found.square_().sum(dtype=none.dtype)
    return total


def less_opposed(pair: Tensor, proxy: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """0, whose gradient on the rows takes from `weight` times the pairs' pull what is against the proxies' pull.

    Both pulls are those of the whole batch, over all processes, as one long vector each.
    """
    if not (rows.requires_grad and pair.requires_grad and torch.is_grad_enabled()):
        return rows.new_zeros(())
    (of_pair,), (of_proxy,) = (torch.autograd.grad(value, rows, retain_graph=True) for value in (pair, proxy))
    with torch.no_grad():
        wide = totals_dtype(rows)
        sums = [(of_pair * of_proxy).sum(dtype=wide), of_proxy.square().sum(dtype=wide)]
        along, square = over_processes(torch.stack(sums))
        against = along.clamp(max=0) / square.clamp_min(torch.finfo(wide).tiny)
        correction = of_proxy * (-weight * against).to(rows.dtype)
    return with_gradient(rows, rows.new_zeros(()), correction)


def on_sphere(gradient: Tensor | None, rows: Tensor) -> Tensor | None:
    """The gradient (n, D) with respect to `rows`, as one with respect to their directions."""
    if gradient is None:
        return None
    length = torch.linalg.vector_norm(rows.detach(), dim=1, keepdim=True)
    x = rows.detach() / length.clamp_min(_NO_LENGTH)
    return torch.addcmul(gradient, x, (gradient * x).sum(1, keepdim=True), value=-1).mul_(length)


def over_processes(sums: Tensor, *, mean: bool = False) -> Tensor:
    """The sum, or mean, over the processes that train together, if there are several (in place)."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(sums)
        if mean:
            sums /= dist.get_world_size()
    return sums


def _gradients(value: Tensor | None, rows: Tensor, proxies: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients with respect to rows and proxies, None where there is none; the graph stays for the real backward."""
    sources = [t for t in (rows, proxies) if t.requires_grad]
    if value is None or not value.requires_grad or not sources:
        return None, None
    found = torch.autograd.grad(value, sources, retain_graph=True, allow_unused=True)
    by = {id(source): gradient for source, gradient in zip(sources, found, strict=True)}
    return by.get(id(rows)), by.get(id(proxies))
