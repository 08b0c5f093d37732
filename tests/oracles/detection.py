"""Matching of boxes and targets of detections as plain loops."""


def overlap(first, second):
    """Intersection over union of two boxes given by left, top, right and bottom."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)) - shared
    return shared / union if union > 0 else 0.0


def match(detections, truths, minimum):
    """The overlap of each (box, score, category, image) with the (box, category, image) that it finds first."""
    found, free = [0.0] * len(detections), list(range(len(truths)))
    for i in sorted(range(len(detections)), key=lambda i: -detections[i][1]):
        box, _, category, image = detections[i]
        best, chosen = 0.0, None
        for j in free:
            if truths[j][1:] == (category, image):
                value = overlap(box, truths[j][0])
                if value >= minimum and value > best:
                    best, chosen = value, j
        if chosen is not None:
            found[i] = best
            free.remove(chosen)
    return found


def averaged(value):
    """The share of the thresholds 0.5, 0.55 ... 0.95 that an overlap reaches."""
    return sum(value >= k / 20 for k in range(10, 20)) / 10
