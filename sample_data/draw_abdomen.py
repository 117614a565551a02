"""A CT-like phantom of the upper abdomen, drawn from formulas and a seed.

Body coordinates are u to the left, v to the back, w to the head, in mm of a body 300 mm wide and
210 mm deep. Everything is painted on three thin slices per thick slice, whose mean simulates the
partial volume effect.
"""

from dataclasses import dataclass

import numpy as np
from canvas import Canvas, melt, rotation
from scipy import ndimage

CLASSES = {"background": 0, "liver": 1, "spleen": 2, "left_kidney": 3, "lesion": 4}
LIVER, SPLEEN, LEFT_KIDNEY, LESION = 1, 2, 3, 4
THIN = 3
AIR, LUNG, FAT, GAS = -1000.0, -840.0, -105.0, -920.0


@dataclass(frozen=True)
class Scan:
    """Voxels (z, y, x) in HU, their labels, and the geometry as in SimpleITK (x first)."""

    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]


def make_scan(seed: int, *, oblique: bool = False, flipped: bool = False) -> Scan:
    """Draw one patient.

    Parameters
    ----------
    seed
        Random seed; the result is the same on every machine.
    oblique
        Whether the slices are oblique to the body.
    flipped
        Whether rows and columns run to the right and to the front, as in many NIfTI files.
    """
    # The stream of RandomState is frozen; that of Generator may change between numpy releases.
    random = np.random.RandomState(seed)
    half_width, half_depth = random.uniform(135, 168), random.uniform(92, 116)
    pixel = round(float((2 * half_width + 34) / 84), 2)
    spacing = np.array([pixel, pixel, round(float(random.uniform(7.0, 8.5)), 1)])
    size = np.array([84, 64, round(180 / spacing[2])])
    direction = np.diag([-1.0, -1.0, 1.0]) if flipped else np.eye(3)
    if oblique:
        direction = rotation("x", 13.0) @ rotation("z", -8.0) @ rotation("y", 5.0)
    centre = random.uniform(-25, 25, 3) - np.array([0, 0, 350])
    origin = np.round(centre - direction @ (spacing * (size - 1) / 2), 3)

    thin = np.arange(size[2] * THIN) / THIN - (THIN - 1) / (2 * THIN)
    index = (np.arange(size[0]), np.arange(size[1]), thin)
    patient = _Patient(
        random, origin - centre, direction * spacing, index, (half_width, half_depth)
    )
    patient.draw()
    hu = patient.hu.reshape(size[2], THIN, size[1], size[0]).mean(1)
    labels = _remove_small_components(patient.labels[THIN // 2 :: THIN])
    image = _simulate_scanner(random, hu, spacing)
    return Scan(
        np.clip(np.rint(image), -1024, 3071).astype(np.int16),
        labels,
        tuple(spacing.tolist()),
        tuple(origin.tolist()),
        tuple(direction.ravel().tolist()),
    )


def _remove_small_components(labels: np.ndarray, smallest: int = 12) -> np.ndarray:
    """Remove small components that remain where one solid cuts another."""
    labels = labels.copy()
    for label in (LESION, LIVER, SPLEEN, LEFT_KIDNEY):
        parts, count = ndimage.label(labels == label)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        small = (sizes < smallest)[parts] & (parts > 0)
        labels[small] = LIVER if label == LESION else 0
    return labels


class _Patient(Canvas):
    """The body, painted from the skin inwards."""

    def __init__(self, random, start, steps, index, half_size) -> None:
        half_width, half_depth = half_size
        to_body = np.diag([150 / half_width, 105 / half_depth, 1.0])
        to_body = to_body @ rotation("z", random.uniform(-5, 5))
        start = to_body @ start + np.array([0, 0, random.uniform(-10, 10)])
        super().__init__(random, start, to_body @ steps, index, AIR)
        self.contrast = random.uniform(0.35, 1.1)

    def draw(self) -> None:
        """Paint the whole patient; later solids cover earlier ones."""
        self.body_wall()
        self.bowel()
        self.liver()
        self.stomach_and_spleen()
        self.spine_and_vessels()
        self.kidneys()
        self.chest()

    def body_wall(self) -> None:
        u, v, _ = self.straight
        ring = (np.abs(u / 150) ** 2.4 + np.abs(v / 105) ** 2.4) ** (1 / 2.4)
        skin = (ring - 1) * 112 + 1.5 * self.texture(60)
        table = np.abs(v - 112 + (u / 60) ** 2 * 3) - 2.5
        self.paint(table, -250)
        fat = self.near(13, 4) + 4 * np.cos(2 * np.arctan2(v, u))
        self.paint(skin, 10)
        self.paint(skin + 3, FAT + 8 * self.texture(14))
        muscle = self.near(55, 4) + 6 * self.contrast
        self.muscle = muscle
        self.paint(skin + 3 + fat, muscle + 5 * self.texture(9))
        for side in (-1, 1):
            back = np.maximum(self.ellipsoid((side * 34, 74, 0), (30, 17, 400)), skin + 8)
            self.paint(back, muscle + 8 * self.texture(8))
        self.cavity = skin + fat + 13
        ribs = np.abs(skin + fat + 8) - 4.5
        height = self.straight[2] - 0.75 * v + 0.1 * np.abs(u)
        between = np.cos(2 * np.pi * height / 32 + self.random.uniform(0, 6.28)) - 0.3
        ribs = np.maximum(ribs, -8 * between)
        ribs = np.maximum(ribs, 20 - np.abs(u))
        ribs = np.maximum(ribs, -30 - self.straight[2] - 0.5 * (v - 20))
        self.paint(ribs, self.near(330, 40))
        self.paint(ribs + 3, self.near(190, 30))
        self.paint(self.cavity, FAT + 6 * self.texture(12))

    def bowel(self) -> None:
        """Loops of small bowel and colon, as dense as adjacent organs."""
        loops = self.texture(17)
        region = np.maximum(self.cavity + 6, self.w + 0.25 * self.v - self.near(-6, 6))
        region = np.maximum(region, self.v - 38)
        wall = np.maximum(np.abs(loops) * 9 - 8.5, region)
        lumen = np.maximum(np.abs(loops) * 9 - 5.0, region + 3)
        self.paint(wall, 62 + 45 * self.contrast)
        self.paint(lumen, self.near(25, 8) + 18 * self.texture(11))
        gas = np.maximum(lumen, 6 - 8 * self.texture(24) + 0.12 * (self.v + 40))
        self.paint(gas, GAS)
        for centre in ((98, -12, self.near(-8, 8)), (-92, -18, self.near(-66, 6))):
            colon = self.ellipsoid(centre, (24, 26, 30)) + 2.5 * self.texture(16)
            colon = np.maximum(colon, self.cavity + 4)
            self.paint(colon, 55 + 35 * self.contrast)
            stool = 10 + 45 * self.texture(7)
            self.paint(colon + 4, stool)
            self.paint(np.maximum(colon + 4, self.v - centre[1] + self.near(8, 5)), GAS)

    def liver(self) -> None:
        random, c = self.random, self.contrast
        size = self.near(1.0, 0.05)
        right = self.ellipsoid(
            (-70, self.near(2, 5), self.near(18, 4)), (68 * size, 84 * size, 76 * size), turn=-12
        )
        left = self.ellipsoid(
            (self.near(0, 8), -50, self.near(40, 4)),
            (self.near(82, 10), 38 * size, 36 * size),
            lean=-20,
        )
        under = (-58 + 0.55 * (self.u + 130) - self.w + self.near(0, 6)) * 0.85
        solid = melt(melt(right, left, 14), under, -10)
        solid = np.maximum(solid + 2.0 * self.texture(20), self.cavity + 2)
        solid = np.maximum(solid, 37 - np.hypot(self.u - 2, self.v - 50))
        self.dome = np.maximum(
            80 - 52 * ((self.u + 62) / 75) ** 2 - 40 * ((self.v + 6) / 85) ** 2,
            68 - 50 * ((self.u - 66) / 72) ** 2 - 40 * ((self.v + 2) / 85) ** 2,
        ) + self.near(0, 4)
        solid = np.maximum(solid, (self.w - self.dome + 4) * 0.8)
        fatty = random.uniform(18, 38) if random.uniform() < 0.25 else 0.0
        tissue = 57 + 50 * c - fatty + self.near(0, 5)
        inside = self.paint(solid, tissue + 3 * self.texture(16), LIVER)

        branches = np.hypot(self.texture(26), self.texture(26))
        vessel = np.maximum((branches - 0.32) * 14, solid + 7)
        self.paint(vessel, tissue + (6 + 38 * c), LIVER)
        self.paint(
            np.maximum(self.tube([(-8, 8, -4), (-30, -4, 18), (-62, 0, 26)], 6.5), solid),
            tissue + 35 * c,
            LIVER,
        )
        for _ in range(random.randint(0, 3)):
            centre = (random.uniform(-110, -35), random.uniform(-45, 45), random.uniform(-5, 50))
            cyst = self.ellipsoid(centre, [random.uniform(6, 10)] * 3)
            self.paint(np.maximum(cyst, solid + 3), self.near(8, 4), LIVER)
        for _ in range(random.choice([0, 1, 1, 1, 2, 2, 3])):
            self.lesion(solid, inside, tissue)
        bladder = self.ellipsoid(
            (self.near(-46, 5), self.near(-38, 5), self.near(-14, 6)),
            (13, 15, self.near(24, 4)),
            turn=25,
        )
        self.paint(bladder - 1.5, 45 + 25 * c)
        self.paint(bladder, self.near(9, 4))

    def lesion(self, solid, inside, tissue: float) -> None:
        """A lesion darker than the liver, with a blurred, bumpy margin and a darker core."""
        random = self.random
        place = np.flatnonzero((solid < -16) & (self.u < -10))
        if not place.size:
            return
        at = place[random.randint(place.size)]
        centre = [axis.ravel()[at] for axis in (self.u, self.v, self.w)]
        radius = random.uniform(10, 21)
        shape = self.ellipsoid(
            centre, radius * random.uniform(0.85, 1.15, 3), random.uniform(0, 180)
        )
        shape = np.maximum(shape + 0.13 * radius * self.texture(radius), solid + 3)
        dark = tissue - random.uniform(30, 52)
        self.paint(shape, dark + 5 * self.texture(9), LESION, edge=6.0)
        self.paint(shape + 0.55 * radius, dark - random.uniform(0, 22), LESION, edge=8.0)

    def stomach_and_spleen(self) -> None:
        random, c = self.random, self.contrast
        pancreas = self.tube(
            [(-24, -4, -14), (-4, -12, 2), (34, 0, 14), (72, 22, 26)], self.near(9, 1)
        )
        self.paint(pancreas + 2.2 * self.texture(8), 45 + 48 * c + 7 * self.texture(7))
        stomach = melt(
            self.ellipsoid(
                (self.near(50, 5), -28, self.near(42, 5)), (self.near(38, 5), self.near(36, 5), 34)
            ),
            self.tube([(45, -40, 20), (15, -52, 2), (-18, -42, -6)], 15),
            10,
        )
        stomach = np.maximum(stomach + 2 * self.texture(20), self.cavity + 4)
        stomach = np.maximum(stomach, (self.w - self.dome + 4) * 0.8)
        self.paint(stomach, 55 + 42 * c)
        drink = 60 + 70 * c if random.uniform() < 0.35 else self.near(22, 8)
        self.paint(stomach + 5, drink + 14 * self.texture(9))
        self.paint(np.maximum(stomach + 5, self.v - self.near(-44, 6)), GAS)

        # A crescent along the wall, thickest in the middle; the kidney later fills its notch.
        around = (np.arctan2(self.v, self.u) - self.near(0.42, 0.1)) / self.near(0.62, 0.07)
        along = (self.w - self.near(16, 6)) / self.near(54, 6)
        thickness = self.near(48, 6) * (1 - around**2 - along**2)
        spleen = np.maximum(-self.cavity - thickness, self.cavity + 2) + 2.5 * self.texture(16)
        spleen = np.maximum(spleen, -self.u + 20)
        spleen = np.maximum(spleen, (self.w - self.dome + 4) * 0.8)
        tissue = 49 + 68 * c + self.near(0, 5)
        self.paint(spleen, tissue + 3 * self.texture(12), SPLEEN)

    def spine_and_vessels(self) -> None:
        c, u, v, w = self.contrast, self.u, self.v, self.w
        blood = 42 + 112 * c
        for side in (-1, 1):
            grow = np.clip(7 - 0.2 * w, 3, 24)
            psoas = np.hypot((u - side * (30 + 0.5 * grow)) / 0.9, v - 52) - grow
            self.paint(np.maximum(psoas, w - 18), self.muscle + 5 * self.texture(8))
            crus = self.tube([(side * 10, 34, -60), (side * 15, 32, 20), (side * 26, 26, 60)], 4)
            self.paint(crus, self.muscle)
        pitch = (w + self.near(0, 14)) / 33 * 2 * np.pi
        body = np.hypot(u / 1.15, v - 52) - 18 + 1.5 * np.cos(pitch)
        self.paint(body, self.near(290, 30))
        self.paint(body + 3, self.near(165, 25) + 18 * self.texture(5))
        self.paint(np.maximum(body, 12 * (np.cos(pitch) - 0.0) * -1 + 9.5), 85)
        arch = np.maximum(np.abs(np.hypot(u, v - 78) - 12) - 3.5, 1.0 * (60 - v))
        self.paint(arch, self.near(300, 30))
        self.paint(np.hypot(u, v - 77) - 8, 25)
        self.paint(np.maximum(np.abs(u) - 4, np.abs(v - 97) - 9), self.near(240, 30))
        for side in (-1, 1):
            process = np.maximum(np.abs(v - 76 - 0.1 * np.abs(u)) - 4, np.abs(u - side * 26) - 14)
            self.paint(np.maximum(process, 6 * np.cos(pitch)), self.near(230, 30))
        self.paint(np.hypot(u - self.near(11, 3), v - 27) - self.near(10.5, 1), blood + 12 * c)
        self.paint(
            np.hypot((u + self.near(22, 3)) / 1.25, v - 25) - self.near(9.5, 1), blood - 14 * c
        )
        mesenteric = self.tube([(6, 14, 16), (4, -2, -20), (0, -6, -110)], 4.5)
        self.paint(mesenteric, blood)
        self.paint(self.tube([(-10, 8, -5), (-9, -4, -30), (-10, -8, -110)], 6), blood - 8)

    def kidneys(self) -> None:
        random, c = self.random, self.contrast
        cortex, medulla = 34 + 150 * c + self.near(0, 8), 31 + 100 * c
        for side, height, label in ((1, -10, LEFT_KIDNEY), (-1, -24, 0)):
            centre = (side * self.near(60, 4), self.near(45, 4), self.near(height, 7))
            size = self.near(1.0, 0.07)
            place = {"turn": side * self.near(28, 8), "lean": -side * self.near(9, 4)}
            kidney = self.ellipsoid(centre, (23 * size, 28 * size, 50 * size), **place)
            kidney = kidney + 1.3 * self.texture(16)
            hilum = (centre[0] - side * 17, centre[1] - 8, centre[2])
            sinus = self.ellipsoid(hilum, (15, 11, self.near(22, 3)), **place)
            self.paint(np.maximum(kidney - 12, self.cavity + 1), FAT)
            self.paint(np.maximum(kidney, -sinus), cortex + 4 * self.texture(9), label)
            pyramids = np.maximum(kidney + 7.5, -sinus - 1) + 3 * self.texture(10)
            self.paint(np.maximum(pyramids, 0.6 - sinus), medulla, label)
            pelvis = np.maximum(sinus + 8, kidney - 2) + 2 * self.texture(8)
            self.paint(pelvis, 12 + (140 * c if random.uniform() < 0.2 else 0))

    def chest(self) -> None:
        above = np.maximum((self.dome - self.w) * 0.8, self.cavity - 3)
        spine = np.hypot(self.u / 1.15, self.v - 52) - 24
        mediastinum = np.maximum(np.abs(self.u - 6) - 22, self.v - 60)
        lung = np.maximum(np.maximum(above, -spine), -mediastinum)
        self.paint(above + 0.5, np.where(lung < 0, self.muscle, self.hu), edge=2.0)
        heart = self.ellipsoid((24, -38, 104), (58, 42, 44), turn=-20)
        heart = np.maximum(heart, above + 3)
        branches = np.hypot(self.texture(15), self.texture(15))
        self.paint(lung + 3, np.where(branches < 0.16, 20.0, LUNG + 25 * self.texture(20)))
        self.paint(heart - 3, FAT)
        self.paint(heart, 40 + 95 * self.contrast)


def _simulate_scanner(random, hu: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Simulate blur, dark bands between bones, cupping, streaks and correlated noise."""
    hu = ndimage.gaussian_filter(hu, (0.25, 0.55, 0.55), truncate=3.0)
    tissue = np.clip((hu + 500) / 400, 0, 1)
    bone = np.clip(hu - 180, 0, 400)
    along, wide = 26 / spacing[0], 5 / spacing[1]
    hardening = ndimage.gaussian_filter(bone, (0.4, wide, along), truncate=2.5)
    depth = ndimage.gaussian_filter(tissue, (0, 60 / spacing[1], 60 / spacing[0]), truncate=2.0)
    grain = ndimage.gaussian_filter(random.standard_normal(hu.shape), (0, 0.5, 0.5), truncate=3.0)
    streaks = ndimage.gaussian_filter(
        random.standard_normal(hu.shape), (0, 0.4, 60 / spacing[0]), truncate=2.0
    )
    grain, streaks = grain / grain.std(), streaks / streaks.std()
    noise = random.uniform(13, 22)
    shade = random.uniform(6, 16)
    drift = random.uniform(-8, 8, 3)
    z, y, x = (np.linspace(-1, 1, n).reshape([-1 if a == b else 1 for b in range(3)])
               for a, n in enumerate(hu.shape))  # fmt: skip
    bias = drift[0] * z + drift[1] * y + drift[2] * x - shade * depth
    body = np.where(tissue > 0, 1.0, 0.12)
    return (
        hu
        + tissue * (bias - 0.35 * hardening)
        + body * (noise * grain)
        + 5 * tissue * depth * streaks
    )
