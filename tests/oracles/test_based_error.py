"""Tests of single predictions as plain loops: exact binomial tests, and isotonic blocks of limited size."""

import math


def binomial_p_value(k, n, p):
    """Add up the probabilities of all outcomes that are no more probable than the observed one."""
    chances = [math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n + 1)]
    return min(1.0, math.fsum(c for c in chances if c <= chances[k] * (1 + 1e-7)))


def pava_bc(scores, outcomes, smallest, largest):
    """The block of each sample, for distinct scores: one point after the other, then the last ones together."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    stack = []
    first = order[: len(order) - smallest] if smallest else order
    for i in first:
        stack.append([i])
        while len(stack) >= 2:
            left, right = stack[-2], stack[-1]
            size = len(left) + len(right)
            means = [sum(outcomes[j] for j in block) / len(block) for block in (left, right)]
            if size <= smallest or (size <= largest and means[0] >= means[1]):
                stack[-2:] = [left + right]
            else:
                break
    rest = order[len(first) :]
    if rest:
        if stack and len(stack[-1]) + len(rest) <= largest:
            stack[-1] += rest
        else:
            stack.append(rest)
    block = [0] * len(scores)
    for number, members in enumerate(stack):
        for i in members:
            block[i] = number
    return block


def rejected_share(scores, outcomes, block, alpha):
    """The share of predictions whose p-value in their block is at most alpha."""
    count = 0
    for i, score in enumerate(scores):
        members = [j for j in range(len(scores)) if block[j] == block[i]]
        count += binomial_p_value(sum(outcomes[j] for j in members), len(members), score) <= alpha
    return count / len(scores)
