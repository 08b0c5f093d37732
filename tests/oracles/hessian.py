"""Second derivatives written out: whole matrices of small models, one sample after another, in plain loops."""

import torch
from torch.func import functional_call, jacrev
from torch.nn import functional as F


def flat_weights(model, names=None):
    """Return the names and the weights as one vector."""
    chosen = {n: p.detach() for n, p in model.named_parameters() if names is None or n in names}
    return chosen, torch.cat([p.flatten() for p in chosen.values()])


def loss_hessian(model, inputs, labels, sample_loss=None, names=None):
    """Return the Hessian of the mean loss in the weights."""
    sample_loss = sample_loss or (lambda outputs, label: F.cross_entropy(outputs, label[None]))
    chosen, flat = flat_weights(model, names)
    total = torch.zeros(len(flat), len(flat), dtype=flat.dtype)
    for row, label in zip(inputs, labels, strict=True):

        def value(vector, row=row, label=label):
            parts, first = {}, 0
            for name, like in chosen.items():
                parts[name] = vector[first : first + like.numel()].view_as(like)
                first += like.numel()
            return sample_loss(functional_call(model, parts, (row[None],)), label)

        total += jacrev(jacrev(value))(flat)
    return total / len(inputs)


def gauss_newton(model, inputs, names=None):
    """Return the mean of ``J'(diag(p) - pp')J`` for logits of two or more classes."""
    chosen, flat = flat_weights(model, names)
    total = torch.zeros(len(flat), len(flat), dtype=flat.dtype)
    for row in inputs:
        weights = {name: value.clone().requires_grad_() for name, value in chosen.items()}
        logits = functional_call(model, weights, (row[None],))[0]
        jacobian = []
        for logit in logits:
            grads = torch.autograd.grad(logit, list(weights.values()), retain_graph=True, allow_unused=True)
            pairs = zip(grads, weights.values(), strict=True)
            jacobian.append(torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs]))
        jacobian = torch.stack(jacobian)
        p = logits.detach().softmax(dim=0)
        total += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total / len(inputs)


def input_hessians(model, inputs, labels, of):
    """Return the Hessian in the input of each sample's loss or logit."""
    found = []
    for row, label in zip(inputs, labels, strict=True):

        def value(vector, row=row, label=label):
            logits = model(vector.view_as(row)[None])
            return F.cross_entropy(logits, label[None]) if of == "loss" else logits[0, label]

        found.append(jacrev(jacrev(value))(row.flatten()))
    return torch.stack(found)
