"""The report that compares models."""

import base64
import math
import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from napari_graphflow.evaluation.pictures import COLOURS
from napari_graphflow.evaluation.report import METRICS, Scored, write_report

SCORES = dict(zip(METRICS, ({"mean": 0.91234}, {"mean": math.inf}, {"mean": 2.5}), strict=True))


def test_report_contains_scores_facts_legend_and_2d_images(tmp_path: Path) -> None:
    models = [Scored("Student <small>", 1_234_567, 0.456, {"liver & more": SCORES})]
    section = ("case 1", "a caption", Image.new("RGB", (3, 2), (1, 2, 3)))
    legend = {"background": 0, "liver & more": 1}
    write_report(tmp_path / "r.html", "A title", models, [section], {"Cases": 3}, legend)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "<h1>A title</h1>" in page and "<dt>Cases</dt><dd>3</dd>" in page
    assert "Student &lt;small&gt;" in page and "liver &amp; more" in page
    assert "<td>1.23 M</td>" in page and "<td>0.46</td>" in page
    assert re.findall(r"<td>([\d.–]+)</td>", page)[1:] == ["0.912", "–", "2.50"]
    assert f"rgb({','.join(map(str, COLOURS[0]))})" in page and "background:" in page
    assert "background</" not in page and "> background" not in page
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    with Image.open(BytesIO(base64.b64decode(encoded))) as image:
        assert image.size == (3, 2) and image.getpixel((0, 0)) == (1, 2, 3)
