"""Counterfactual geometry one example at a time: distances, thresholds, curvatures and searches in plain loops."""

import torch


def radius(z, reference, labels, c, k, leave_out=-1):
    """Return the distance to the k-th nearest reference example of class c."""
    near = sorted(
        (z - r).norm().item()
        for i, (r, y) in enumerate(zip(reference, labels.tolist(), strict=True))
        if y == c and i != leave_out
    )
    return near[k - 1] if len(near) >= k else float("inf")


def threshold(reference, labels, c, k, quantile):
    """Return the quantile of the radii of the examples of class c, each without itself."""
    own = [radius(reference[i], reference, labels, c, k, i) for i in range(len(labels)) if labels[i] == c]
    if len(own) <= k:
        return float("-inf")
    return torch.tensor(own, dtype=torch.float64).quantile(quantile).item()


def mahalanobis(z, reference, labels, c, leave_out=-1):
    """Return the distance to the mean of a class, with its covariance and a thousandth of the mean variance."""
    points = torch.stack(
        [r for i, (r, y) in enumerate(zip(reference, labels.tolist(), strict=True)) if y == c and i != leave_out]
    )
    offset = z - points.mean(dim=0)
    covariance = torch.cov(points.T)
    covariance = covariance + 1e-3 * covariance.trace() / len(z) * torch.eye(len(z), dtype=z.dtype)
    return (offset @ torch.linalg.solve(covariance, offset)).sqrt().item()


def curvature(z, reference, k, tangent, leave_out=-1):
    """Return the local curvature from the offsets' own components."""
    offsets = [r - z for i, r in enumerate(reference) if i != leave_out]
    offsets = torch.stack(sorted(offsets, key=lambda o: o.norm().item())[:k])
    plane = torch.linalg.svd(offsets).Vh[:tangent]
    across, along = 0.0, 0.0
    for offset in offsets:
        inside = plane.T @ (plane @ offset)
        across += (offset - inside).norm().item() / k
        along += inside.square().sum().item() / k
    return across / (along + 1e-8)


def runner_up(logits):
    """Return the predicted class and the second."""
    a = int(logits.argmax())
    t = max((c for c in range(len(logits)) if c != a), key=lambda c: logits[c].item())
    return a, t


def nearest_mean(z, reference, labels, c, k, leave_out=-1):
    """Return the mean of the k nearest examples of class c."""
    near = [r for i, (r, y) in enumerate(zip(reference, labels.tolist(), strict=True)) if y == c and i != leave_out]
    near = sorted(near, key=lambda r: (r - z).norm().item())[:k]
    return torch.stack(near).mean(dim=0)


def into_ball(z, start, limit):
    """Return the nearest point of the ball."""
    length = (z - start).norm().item()
    return start + (z - start) * (limit / length) if length > limit else z


def scale_free(head, start, reference, labels, *, k, step, radius, steps, weight):
    """Return the end of our search from one example and its number of steps."""
    pairs = [(a - b).square().sum().item() for i, a in enumerate(reference) for b in reference[:i]]
    scale = (sum(pairs) / len(pairs)) ** 0.5
    _, t = runner_up(head(start[None])[0])
    z, best, highest = start, start, -float("inf")
    for taken in range(1, steps + 1):
        point = z.clone().requires_grad_()
        logits = head(point[None])[0]
        others = torch.cat([logits[:t], logits[t + 1 :]])
        (gradient,) = torch.autograd.grad(logits[t] - others.max(), point)
        way = gradient / gradient.norm()
        way = way + weight * (nearest_mean(z, reference, labels, t, k) - z) / scale
        before, move = z, step * scale * way / max(1.0, way.norm().item())
        z = into_ball(z + move, start, radius * scale)
        logits = head(z[None])[0]
        ahead = logits[t] - torch.cat([logits[:t], logits[t + 1 :]]).max()
        if ahead > highest:
            best, highest = z, ahead.item()
        if int(logits.argmax()) == t:
            return z.detach(), taken
        at_edge = abs((z - start).norm().item() - radius * scale) < 1e-9
        if at_edge and (z - before).norm() <= 1e-3 * move.norm():
            break
    return best.detach(), taken


def published(
    head, start, reference, labels, *, k, step, radius, steps, pull=0.0, tether=0.0, bend=0.0, until="target"
):
    """Return the end of the published search from one example and its number of steps."""
    a, t = runner_up(head(start[None])[0])
    z = start
    if bend:
        every = [curvature(r, reference, 20, 2, i) for i, r in enumerate(reference)]
        typical = torch.tensor(every, dtype=torch.float64).median().item() + 1e-8
    for taken in range(1, steps + 1):
        point = z.clone().requires_grad_()
        loss = -head(point[None])[0, t]
        if tether and taken > 1:
            loss = loss + tether * (point - start).norm()
        if pull:
            near = [((point - r) ** 2).sum() for r, y in zip(reference, labels.tolist(), strict=True) if y == t]
            loss = loss + pull * sum(sorted(near, key=torch.Tensor.item)[:k]) / min(k, len(near))
        (gradient,) = torch.autograd.grad(loss, point)
        rate = step / (1 + bend * curvature(z, reference, 20, 2) / typical) if bend else step
        z = into_ball(z - rate * gradient, start, radius)
        now = int(head(z[None])[0].argmax())
        if (now == t) if until == "target" else (now != a):
            return z.detach(), taken
    return z.detach(), taken
