"""Polygons cut by polygons, one corner at a time, to check what is computed all at once."""

from __future__ import annotations

import math


def clip(polygon, other):
    """Cut a convex polygon by another, counterclockwise one (Sutherland and Hodgman's algorithm)."""
    for (ax, ay), (bx, by) in zip(other, other[1:] + other[:1], strict=True):
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in polygon]
        kept = []
        for i, (start, s) in enumerate(zip(polygon, sides, strict=True)):
            end, e = polygon[(i + 1) % len(polygon)], sides[(i + 1) % len(polygon)]
            if s >= 0:
                kept.append(start)
            if s * e < 0:
                kept.append(tuple(p + (q - p) * s / (s - e) for p, q in zip(start, end, strict=True)))
        polygon = kept
    return polygon


def area(polygon):
    """Positive if counterclockwise."""
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs) / 2


def rectangle(x, z, length, width, rotation_y):
    """Its corners, counterclockwise in x and z."""
    cos, sin = math.cos(rotation_y), math.sin(rotation_y)
    corners = [(length / 2, -width / 2), (length / 2, width / 2), (-length / 2, width / 2), (-length / 2, -width / 2)]
    return [(x + cos * a + sin * b, z - sin * a + cos * b) for a, b in corners]
