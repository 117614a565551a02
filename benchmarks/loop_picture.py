"""Make docs/loop.gif, the moving picture of the README, from the pictures of the docs.

Its last one, docs/screenshot.png, is the screenshot that `make demo` saves without a display.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CHECKOUT = Path(__file__).parent.parent
SIZE, CAPTION = (720, 464), 36
FRAMES = {
    "1  A dataset: which case comes next, and why": "pictures/labelling_cases.png",
    "2  A proposed mask, to accept or correct": "pictures/labelling_case.png",
    "3  A round: a new student, with a verdict": "pictures/labelling_rounds.png",
    "4  Teacher and student compared": "screenshot.png",
}


def frame(caption: str, picture: Path) -> Image.Image:
    page = Image.new("RGB", (SIZE[0], SIZE[1] + CAPTION), "#262930")
    shown = Image.open(picture).convert("RGB")
    shown.thumbnail(SIZE)
    page.paste(shown, ((SIZE[0] - shown.width) // 2, CAPTION))
    ImageDraw.Draw(page).text((12, 8), caption, "white", ImageFont.load_default(18))
    return page.quantize(96, dither=Image.Dither.NONE)


def main() -> None:
    frames = [frame(text, CHECKOUT / "docs" / name) for text, name in FRAMES.items()]
    out = CHECKOUT / "docs" / "loop.gif"
    frames[0].save(
        out, save_all=True, append_images=frames[1:], duration=2500, loop=0, optimize=True
    )
    print(f"{out}: {out.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
