"""A canvas of voxels on which soft solids are painted, each given by a distance in mm."""

from itertools import pairwise

import numpy as np


class Canvas:
    """Voxels, their labels, and the slightly warped coordinates u, v, w of their centres.

    Parameters
    ----------
    random
        Random state of the patient.
    start, steps
        Coordinates of the first voxel, and the steps along x, y and z as columns.
    index
        Voxel indices along x, y and z.
    hu
        Initial value of all voxels.
    """

    def __init__(self, random, start, steps, index, hu: float) -> None:
        self.random = random
        self.start, self.steps, self.index = start, steps, index
        i, j, k = (part.T for part in np.meshgrid(*index, indexing="ij", sparse=True))
        self.straight = tuple(
            self.start[a] + self.steps[a, 0] * i + self.steps[a, 1] * j + self.steps[a, 2] * k
            for a in range(3)
        )
        self.u, self.v, self.w = (axis + 5 * self.texture(70) for axis in self.straight)
        self.hu = np.full(self.u.shape, hu)
        self.labels = np.zeros(self.u.shape, np.uint8)

    def texture(self, length: float, count: int = 8):
        """Return a smooth random field with standard deviation 1 and a scale of about `length` mm.

        It is a sum of plane waves, each the product of one factor per axis of the voxel grid.
        """
        ways = self.random.standard_normal((count, 3))
        ways /= np.sqrt((ways**2).sum(1, keepdims=True))
        ways *= np.pi / (length * self.random.uniform(0.7, 1.4, (count, 1)))
        phases = ways @ self.start + self.random.uniform(0, 2 * np.pi, count)
        x, y, z = (
            np.exp(1j * np.outer(ways @ self.steps[:, axis], along))
            for axis, along in enumerate(self.index)
        )
        planes = (z * np.exp(1j * phases)[:, None])[:, :, None] * y[:, None, :]
        field = (planes.reshape(count, -1).T @ x).real
        return field.reshape(z.shape[1], y.shape[1], x.shape[1]) * np.sqrt(2 / count)

    def near(self, mean: float, spread: float) -> float:
        """Draw a normal random number, clipped to two standard deviations (`spread`)."""
        return float(mean + spread * np.clip(self.random.standard_normal(), -2, 2))

    def ellipsoid(self, centre, radii, turn: float = 0.0, lean: float = 0.0):
        """Return the distance to an ellipsoid, rotated about w and sheared (degrees)."""
        p = [axis - c for axis, c in zip((self.u, self.v, self.w), centre, strict=True)]
        t, s = np.deg2rad(turn), np.tan(np.deg2rad(lean))
        p[0] = p[0] - s * p[2]
        p[0], p[1] = np.cos(t) * p[0] + np.sin(t) * p[1], np.cos(t) * p[1] - np.sin(t) * p[0]
        scaled = np.sqrt(sum((a / r) ** 2 for a, r in zip(p, radii, strict=True)))
        return (scaled - 1) * min(radii) * 1.15

    def tube(self, points, radius: float):
        """Return the distance to a chain of rods through `points`; negative inside."""
        best = np.inf
        p = (self.u, self.v, self.w)
        for start, end in pairwise(points):
            way = np.subtract(end, start, dtype=float)
            along = sum((a - s) * d for a, s, d in zip(p, start, way, strict=True)) / (way**2).sum()
            along = np.clip(along, 0, 1)
            gap = sum((a - s - along * d) ** 2 for a, s, d in zip(p, start, way, strict=True))
            best = np.minimum(best, gap)
        return np.sqrt(best) - radius

    def paint(self, distance, hu, label: int = 0, edge: float = 3.0):
        """Paint a solid with an edge `edge` mm wide, and return its opacity."""
        opacity = np.clip(0.5 - distance / edge, 0, 1)
        self.hu += opacity * (hu - self.hu)
        self.labels[opacity > 0.5] = label
        return opacity


def melt(first, second, width: float):
    """Return the smooth union of two solids, or their intersection if `width` is negative."""
    sign = 1 if width > 0 else -1
    a, b, k = sign * first, sign * second, abs(width)
    mix = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return sign * (b + (a - b) * mix - k * mix * (1 - mix))


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Return the rotation matrix about a coordinate axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return np.array(turn[axis])
