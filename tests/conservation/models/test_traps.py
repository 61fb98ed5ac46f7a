"""Models whose laws are easily claimed or missed; gradients try every law from outside."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.conservation import laws
from dmft.errors import InputError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("torch.utils.checkpoint")
nn = torch.nn
F = torch.nn.functional


class Net(nn.Module):
    """Two linear layers (4, 6, 3), further modules, and a function of both and the input."""

    def __init__(self, function, **modules):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)
        for name, module in modules.items():
            setattr(self, name, module)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


class LoRA(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(2, inputs))
        self.up = nn.Parameter(torch.randn(outputs, 2))

    def forward(self, x):
        return super().forward(x) + x @ self.down.T @ self.up.T


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.round()

    @staticmethod
    def backward(context, g):
        return g


def hooked(hook):
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    hook(net)
    return net


def vector(n):
    return nn.Parameter(torch.randn(n))


def silently(m, x):
    h = m.a(x).clone()
    with torch.no_grad():
        h.clamp_min_(0)
    return m.b(h)


# name: (model, number of laws); None: no laws, but the reason.
TRAPS = {
    "square of h": (lambda: Net(lambda m, x: m.b((h := m.a(x)) * h)), 6),
    "relu(h) h": (lambda: Net(lambda m, x: m.b(torch.relu(h := m.a(x)) * h)), 6),
    "weight tied by hand": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.a(x))) @ m.a.weight[:3, :3]), 6),
    "norm of a weight": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.a(x))) + m.a.weight.norm()), 0),
    "regulariser beside the output": (lambda: Net(
        lambda m, x: (m.b(torch.relu(m.a(x))), m.a.weight.square().sum())), 0),
    "forward hook": (lambda: hooked(
        lambda n: n[0].register_forward_hook(lambda m, i, o: o + 1)), 0),
    "forward hook that scales": (lambda: hooked(
        lambda n: n[0].register_forward_hook(lambda m, i, o: 2 * o)), 6),
    "forward pre-hook": (lambda: hooked(
        lambda n: n[2].register_forward_pre_hook(lambda m, i: (i[0].tanh(),))), 0),
    "backward hook": (lambda: hooked(
        lambda n: n[0].register_full_backward_hook(lambda m, i, o: None)), None),
    "hook on a gradient": (lambda: hooked(
        lambda n: n[0].weight.register_hook(lambda g: g.clamp(-1, 1))), None),
    "control flow": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.a(x))) if m.a(x).sum() > 0 else m.b(m.a(x))), None),
    "control flow of the data": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.a(x))) if x.sum() > 0 else m.b(m.a(x))), None),
    "backward pass of its own": (lambda: Net(
        lambda m, x: m.b(Straight.apply(m.a(x)))), None),
    "stop of gradients": (lambda: Net(lambda m, x: m.b(torch.relu(m.a(x)).detach())), 30),
    "LoRA as a subclass": (lambda: nn.Sequential(LoRA(4, 6), nn.ReLU(), nn.Linear(6, 3)), 9),
    "PReLU": (lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 3)), 6),
    "RReLU": (lambda: nn.Sequential(nn.Linear(4, 6), nn.RReLU(), nn.Linear(6, 3)), 6),
    "layer scale": (lambda: Net(
        lambda m, x: m.b(x @ m.a.weight.T * m.g), g=vector(6)), 18),
    "subtraction": (lambda: Net(
        lambda m, x: m.c(torch.relu(m.a(x)) - torch.relu(m.d(x))), c=nn.Linear(6, 2),
        d=nn.Linear(4, 6)), 6 + 21),
    "maxout": (lambda: Net(
        lambda m, x: m.b(torch.maximum(m.a(x), m.d(x))), d=nn.Linear(4, 6)), 6),
    "scaled by a tensor": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.a(x)) * torch.tensor(3.0))), 6),
    "unused parameters": (lambda: Net(lambda m, x: m.a(x)), 21),
    "in place": (lambda: Net(lambda m, x: m.b(m.a(x).relu_() * 2)), 6),
    "in place through a view": (lambda: Net(
        lambda m, x: (h := m.a(x), h[..., :3].exp_(), m.b(h))[2]), 0),
    "flipped": (lambda: Net(lambda m, x: m.b(torch.relu(h := m.a(x)) + h.flip(-1))), 3),
    "halves": (lambda: Net(
        lambda m, x: m.b(torch.cat([m.a(x)[..., :3].tanh(), m.a(x)[..., 3:]], -1))), 6),
    "padded": (lambda: Net(
        lambda m, x: m.b(F.pad(torch.relu(m.a(x))[..., :4], (1, 1)))), 4 + 2 + 3),
    "softmax router": (lambda: Net(
        lambda m, x: (m.g(x).softmax(-1)[..., None, :] * torch.stack(
            [m.a(x).tanh(), m.d(x).tanh()], -1)).sum(-1), g=nn.Linear(4, 2),
        d=nn.Linear(4, 6)), 5 + 21),
    "sigmoid router": (lambda: Net(
        lambda m, x: m.b(torch.tanh(m.a(x))) * m.g(x).sigmoid(), g=nn.Linear(4, 3)), 0),
    "tanh": (lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)))), 0),
    "weight normalised": (lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3)), 12),
    "spectral norm": (lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3)), 1),
    "softmax between": (lambda: Net(lambda m, x: m.b(m.a(x).softmax(-1))), 5 + 3),
    "used twice": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.d(torch.relu(m.d(torch.relu(m.a(x))))))),
        d=nn.Linear(6, 6)), 6),
    "layer of nothing": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Identity(), nn.Linear(6, 3)), 21),
    "depthwise": (lambda: Net(
        lambda m, x: m.b(m.c(m.a(x)[..., None]).sum(-1)), c=nn.Conv1d(6, 6, 1, groups=6)), 12),
    # The norms are clamped in place without gradients.
    "cosine similarity": (lambda: Net(
        lambda m, x: F.cosine_similarity(m.a(x), m.d(x), dim=-1), d=nn.Linear(4, 6)), 21),
    "clamped without gradients": (lambda: Net(silently), 0),
    "changed behind gradients": (lambda: Net(
        lambda m, x: (h := m.a(x), h.data.clamp_(min=0), m.b(h))[2]), 0),
    "doubled behind gradients": (lambda: Net(
        lambda m, x: (h := m.a(x), h.data.mul_(2.0), m.b(h))[2]), 0),
    "detached, then changed": (lambda: Net(
        lambda m, x: (h := m.a(x) * 1, d := h.detach(), h.mul_(1.5), m.b(h * d))[3]), 6),
    "detached part, then changed": (lambda: Net(
        lambda m, x: (h := m.a(x) * 1, h[:, :3].detach().mul_(2.0), m.b(h))[2]), 0),
    "buffer filled in part": (lambda: Net(
        lambda m, x: (z := x.new_zeros(len(x), 6), z[:, :3].copy_(torch.relu(m.a(x))[:, :3]),
                      m.b(z))[2]), 3),
    "parameter without entries": (lambda: Net(
        lambda m, x: m.b(torch.relu(m.a(x))) + m.e.sum(), e=nn.Parameter(torch.randn(0, 3))), 6),
    "adaptive softmax": (lambda: Net(
        lambda m, x: m.c.log_prob(m.a(x)), c=nn.AdaptiveLogSoftmaxWithLoss(6, 8, [3, 5])), None),
    "checkpoint": (lambda: Net(lambda m, x: m.b(torch.utils.checkpoint.checkpoint(
        lambda y: torch.relu(m.a(y)), x, use_reentrant=False))), 6),
    "normalised": (lambda: Net(lambda m, x: m.b(F.normalize(m.a(x), dim=-1))), 0),
    "normalised without eps": (lambda: Net(
        lambda m, x: m.b(F.normalize(m.a(x), dim=-1, eps=0))), 1),
    "batch norm": (lambda: nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), None),
}  # fmt: skip


def count_that_gradients_contradict(model, found, x):
    """Against autograd: gradients of the laws, times gradients of random functions."""
    twin = model.double()
    parameters = {n: p for n, p in twin.named_parameters() if p.requires_grad}
    torch.manual_seed(5)
    with torch.no_grad():
        for p in parameters.values():
            p.copy_(torch.randn_like(p))
    out = twin(x.double())
    outputs = out if isinstance(out, tuple) else (out,)
    value = sum((y * torch.randn_like(y)).sum() + (y**2 * torch.rand_like(y)).sum()
                for y in outputs)  # fmt: skip
    leaves = list(parameters.values())
    grads = (
        torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad
        else [None] * len(leaves)
    )  # fmt: skip
    force = torch.cat([(torch.zeros_like(p) if g is None else g).flatten()
                       for g, p in zip(grads, leaves, strict=True)])  # fmt: skip
    bad = 0
    for law in found:
        for quantity in law.evaluate(parameters):
            slopes = torch.autograd.grad(quantity, leaves, allow_unused=True, retain_graph=True)
            slope = torch.cat([(torch.zeros_like(p) if g is None else g).flatten()
                               for g, p in zip(slopes, leaves, strict=True)])  # fmt: skip
            bad += float((slope @ force).abs()) > 1e-10 * float(slope.norm() * force.norm())
    return bad


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("name", TRAPS)
def test_traps(name, check):
    torch.manual_seed(0)
    make, expected = TRAPS[name]
    model = make()
    found = laws(model, check=check)
    if name in ("batch norm", "adaptive softmax"):
        # With rows of two axes and of three alike: only what holds for both.
        expected = found.count
    if expected is None:
        assert found.count == 0 and len(found.unrecognised) == 1 and not found.determined
        return
    assert found.count == expected, [(law.count, law.name, law.formula) for law in found]
    assert not any("refuted" in text for text in found.unrecognised)
    assert count_that_gradients_contradict(model, found, torch.randn(7, 4)) == 0


def test_parameters_without_a_shape_are_refused():
    with pytest.raises(InputError, match="without a shape"):
        laws(nn.Sequential(nn.LazyLinear(3)))


def test_false_laws_are_refuted_before_they_are_listed(monkeypatch):
    import dataclasses

    from dmft.conservation.models import walk

    real = walk.findings

    def wrong(trace, loss):
        found, broken, unknown = real(trace, loss)
        turned = [
            dataclasses.replace(
                law, terms=tuple(dataclasses.replace(t, weight=abs(t.weight)) for t in law.terms)
            )
            for law in found
        ]
        return turned, broken, unknown

    monkeypatch.setattr(walk, "findings", wrong)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    found = laws(net)
    assert found.count == 0 and "refuted by gradients" in found.unrecognised[0]
    assert laws(net, check=False).count == 8


def test_the_solver_of_scales_agrees_with_dense_elimination():
    from fractions import Fraction

    from dmft.conservation.models.tracing.unknowns import Unknowns

    rng = np.random.default_rng(0)
    for _ in range(40):
        unknowns = Unknowns()
        unknowns.new((9,))
        rows = []
        for _ in range(int(rng.integers(1, 7))):
            size = int(rng.choice([1, 2, 2, 2, 3]))
            ids = rng.choice(9, size, replace=False)
            weights = rng.choice([1, -1, 1, -1, 2], size)
            unknowns.require([(Fraction(int(w)), np.array([i]))
                              for w, i in zip(weights, ids, strict=True)])  # fmt: skip
            rows.append(np.bincount(ids, weights, 9))
        solution = unknowns.solve()
        basis = np.zeros((solution.count, 9))
        places, directions, values = solution.entries(np.arange(9))
        basis[directions, places] = values
        assert solution.count == 9 - np.linalg.matrix_rank(np.array(rows))
        assert np.linalg.matrix_rank(basis) == solution.count
        assert np.abs(np.array(rows) @ basis.T).max(initial=0) == 0
