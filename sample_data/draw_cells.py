"""2D images like stained tissue: cell nuclei and gland lumina among similar structures.

Red blood cells are as round as nuclei and cracks are as bright as lumina, so that neither colour
nor shape alone separates them.
"""

import numpy as np
from scipy import ndimage

CLASSES = {"background": 0, "nucleus": 1, "lumen": 2}
NUCLEUS, LUMEN = 1, 2
SIDE = 128
#: Drawn at twice the resolution and averaged, for soft edges.
FINE = 2 * SIDE


def make_image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image: RGB (128, 128, 3) and labels (128, 128), both uint8."""
    # The stream of RandomState is frozen; that of Generator may change between numpy releases.
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:FINE, :FINE].astype(float)
    eosin = np.array([0.93, 0.62, 0.78]) + random.uniform(-0.05, 0.05, 3)
    flow = np.deg2rad(90 * _field(random, (50, 50)) + random.uniform(0, 360))
    waves = np.sin((x * np.cos(flow) + y * np.sin(flow)) / 3 + 2 * _field(random, (10, 10)))
    fibres = _field(random, (3, 3)) + 0.7 * waves + 0.7 * _field(random, (9, 9))
    image = eosin + (0.04 * fibres)[..., None] * [0.6, 1.2, 0.8]
    labels = np.zeros((FINE, FINE), np.uint8)
    occupied = np.zeros((FINE, FINE), bool)

    for _ in range(random.randint(1, 4)):
        centre, radius = random.uniform(30, FINE - 30, 2), random.uniform(13, 30)
        lumen = _blob(random, y, x, centre, radius, 0.16)
        if (occupied & (lumen < 20)).any():
            continue
        _lay(image, lumen - 10, np.array([0.84, 0.52, 0.74]), 3)
        _lay(image, lumen, np.array([0.95, 0.93, 0.95]) - 0.03 * random.uniform(), 1.5)
        labels[lumen < 0] = LUMEN
        occupied |= lumen < 1
        count = int(2 * np.pi * (radius + 12) / 17)
        for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + random.uniform(0, 6):
            at = centre + (radius + 11) * np.array([np.sin(angle), np.cos(angle)])
            _nucleus(random, image, labels, occupied, y, x, at, np.rad2deg(angle))
        occupied |= lumen < 22

    for _ in range(random.randint(1, 3)):
        ridge = np.abs(_field(random, (14, 14)) + random.uniform(-0.3, 0.3))
        crack = ridge - 0.06 * random.uniform(0.6, 1.4) * _field(random, (20, 20))
        crack = np.where(occupied, 1.0, crack)
        _lay(image, crack, np.array([0.95, 0.93, 0.95]), 0.03)
        occupied |= crack < 0.02

    for _ in range(random.randint(4, 16)):
        at, radius = random.uniform(0, FINE, 2), random.uniform(6, 7.5)
        cell = _blob(random, y, x, at, radius, 0.05)
        if (occupied & (cell < 0)).any():
            continue
        shade = np.array([0.84, 0.36, 0.46]) + random.uniform(-0.05, 0.05, 3)
        _lay(image, cell, shade + 0.12 * np.exp(-(cell + radius) / 3)[..., None], 1.5)
        occupied |= cell < 1
    for _ in range(random.randint(25, 55)):
        _nucleus(random, image, labels, occupied, y, x, random.uniform(0, FINE, 2),
                 random.uniform(0, 180))  # fmt: skip
    return _simulate_camera(random, image), labels[::2, ::2].copy()


def _nucleus(random, image, labels, occupied, y, x, at, angle) -> None:
    slim = random.uniform(0.45, 0.95) if random.uniform() < 0.8 else 0.3
    nucleus = _blob(random, y, x, at, random.uniform(6.5, 10.5), 0.08, slim, angle)
    inside = nucleus < 0
    if occupied[inside].mean() > 0.15 if inside.any() else True:
        return
    pale = random.uniform(0, 0.22)
    shade = np.array([0.38, 0.22, 0.58]) + pale + random.uniform(-0.05, 0.05, 3)
    grain = 0.07 * _field(random, (2, 2))
    _lay(image, nucleus, shade + grain[..., None], 2.5, opacity=random.uniform(0.75, 1.0))
    labels[inside] = NUCLEUS
    occupied |= nucleus < 1.5


def _blob(random, y, x, centre, radius, bumps, slim=1.0, angle=0.0):
    """Return the approximate signed distance to a bumpy ellipse; negative inside."""
    turn = np.deg2rad(angle)
    dy, dx = y - centre[0], x - centre[1]
    along, across = np.cos(turn) * dy - np.sin(turn) * dx, np.sin(turn) * dy + np.cos(turn) * dx
    across = across / slim
    around = np.arctan2(across, along)
    edge = sum(
        random.uniform(-1, 1) * np.cos(n * around + random.uniform(0, 6.28)) for n in (2, 3, 5)
    )
    return (np.hypot(along, across) - radius * (1 + bumps * edge)) * slim


def _lay(image, distance, colour, edge, opacity=1.0) -> None:
    alpha = (opacity * np.clip(0.5 - distance / edge, 0, 1))[..., None]
    image += alpha * (colour - image)


def _field(random, sigma):
    field = ndimage.gaussian_filter(random.standard_normal((FINE, FINE)), sigma, mode="wrap")
    return field / field.std()


def _simulate_camera(random, image) -> np.ndarray:
    """Apply stain strength, uneven light, blur and noise, and convert to 8 bits."""
    light = 1 + 0.05 * random.standard_normal() + 0.07 * ndimage.zoom(
        random.standard_normal((3, 3)), FINE / 3, order=1
    )[:FINE, :FINE]  # fmt: skip
    image = np.clip(image, 0.02, 1) ** random.uniform(0.8, 1.35) * light[..., None]
    image = ndimage.gaussian_filter(image, (random.uniform(0.6, 1.6),) * 2 + (0,))
    small = image.reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3))
    small = small * random.uniform(0.94, 1.06, 3) + 0.012 * random.standard_normal(small.shape)
    return np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
