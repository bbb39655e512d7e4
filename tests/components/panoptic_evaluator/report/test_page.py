"""The report and its galleries: what is shown, that it needs nothing but itself, and that it is one page for all."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.gate.judge import NoBaseline, Outcome, Reason, judge
from components.panoptic_evaluator.report import gallery
from components.panoptic_evaluator.report.page import Gallery, Report, format_change, format_score, render_report
from components.panoptic_evaluator.report.tables import class_rows, confusion_rows, split_reasons
from components.panoptic_evaluator.report.training_curves import training_charts
from components.panoptic_evaluator.scoring.analysis import analyze
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_evaluator.scoring.evaluation import evaluation_from_files
from maskformer_model.categories import CategoryTable
from maskformer_model.data import panoptic_png
from tests.components.image_lines import CATEGORIES, image_line, sums_text

SKY, CAT, DOG = 0, 1, 2
COUNTS = [[SKY, 0.9, 1, 0, 0], [CAT, 1.5, 2, 0, 1], [DOG, 0.6, 1, 0, 0]]


def _lines(counts=COUNTS):
    return [
        image_line("1", pq=0.9, rows=counts, attributes={"image/format": "jpeg"}, num_crowds=2, void_fraction=0.25),
        image_line("2", pq=0.1, attributes={"image/format": "png"}, num_crowds=0, void_fraction=0.75),
    ]


def _evaluation(counts=COUNTS, lines=None, confusion=()):
    return evaluation_from_files(CATEGORIES, sums_text(counts, confusion), _lines(counts) if lines is None else lines)


def _analysis(candidate, baseline=None):
    config = AnalysisConfig(slices=("image/format",) if candidate.images else (), num_resamples=100)
    return analyze(candidate, baseline, config)


def _picture(score) -> gallery.GalleryImage:
    ids = np.array([[1, 1, 2], [1, 1, 0]], np.int32)
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), 100, np.uint8)).save(file, "PNG")
    segments = [
        SimpleNamespace(id=1, class_index=SKY, iscrowd=False, area_px=4, score=0.9),
        SimpleNamespace(id=2, class_index=CAT, iscrowd=False, area_px=1, score=0.9),
    ]
    record = SimpleNamespace(
        void_is_background=False,
        filename="1.png",
        image_encoded=file.getvalue(),
        panoptic_png=panoptic_png.encode_panoptic_png(ids),
        segments=segments,
    )
    found = panoptic_png.encode_panoptic_png(np.where(ids == 1, ids, 0))
    prediction = SimpleNamespace(panoptic_png=found, segments=segments[:1])
    return gallery.gallery_image(score, record, prediction, CATEGORIES)


def _report(**changes) -> Report:
    candidate = changes.pop("candidate", _evaluation())
    baseline = changes.get("baseline")
    analysis = _analysis(candidate, baseline)
    first = NoBaseline(outcome=Outcome.FIRST_MODEL)
    verdict = judge(analysis, None if baseline else first, GateConfig(pq_floor=0.9))
    best, worst = gallery.choose_images(candidate.images, 6)
    values = {
        "candidate": candidate,
        "baseline": None,
        "analysis": analysis,
        "verdict": verdict,
        "galleries": [_gallery("best", best), _gallery("worst", worst)],
        "charts": training_charts([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]),
        "kept_aside": {"missing photo": 3},
        "card": [("Model", "models/1")],
        "settings": '{"seed": 7}',
    }
    return Report(**values | changes)


def _gallery(key, scores) -> Gallery:
    images = [_picture(score) for score in scores]
    return Gallery(key=key, title=f"The {key}", lead="Chosen.", images=images, empty="No image has a score.")


class _Outline(html.parser.HTMLParser):
    """Checks that tags nest, and collects ids, addresses and text."""

    VOID_TAGS = {"meta", "link", "img", "line", "polyline", "br"}

    def __init__(self, page: str):
        super().__init__()
        self.open_tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.images_without_text = 0
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        self.images_without_text += tag == "img" and not values.get("alt")
        if tag not in self.VOID_TAGS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if not self.open_tags or self.open_tags[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def test_the_page_is_whole_and_refers_to_nothing_outside_itself():
    page = render_report(_report())
    outline = _Outline(page)
    assert outline.open_tags == []
    assert len(outline.ids) == len(set(outline.ids))
    for address in outline.addresses:
        assert address.startswith("data:") or address.removeprefix("#") in outline.ids
    assert "url(" not in page
    script = page.split("<script>")[1].split("</script>")[0]
    assert page.count("<script") == 1
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in page.split("<style>")[0]
    assert outline.images_without_text == 0


def test_the_page_says_verdict_reasons_scores_and_data():
    text = _Outline(render_report(_report())).text
    # PQ: sky 0.9, cat 1.5 / 2.5 = 0.6, dog 0.6; their mean is 0.7.
    for words in (
        "Not blessed",
        "PQ 0.7000 does not reach the floor of 0.9000.",
        "No model was blessed before this one",
        "Of 5 true segments 4 were found (80 %), 1 were missed",
        "4 things and 1 stuff",
        "50.0 % of all pixels",
        "6 × 4 px",
        "3 × missing photo",
        "models/1",
        "format=jpeg",
        "No true segment was predicted as another class.",
    ):
        assert words in text


def test_the_change_against_the_baseline_is_shown_in_all_and_per_class():
    baseline = _evaluation([[SKY, 0.8, 1, 0, 0], [CAT, 1.5, 2, 0, 1]])
    text = _Outline(render_report(_report(baseline=baseline))).text
    assert re.search(r"±0.000 .*compared with the last blessed model", text)  # 0.7 now, (0.8 + 0.6) / 2 before.
    candidate = _evaluation()
    by_name = {row["name"]: row["change"] for row in class_rows(candidate, _analysis(candidate, baseline))}
    assert by_name["sky"] == pytest.approx(0.1)
    assert by_name["cat"] == 0.0
    assert by_name["dog"] is None


def test_classes_are_listed_things_first_and_best_first_without_those_never_seen():
    candidate = _evaluation([[SKY, 0.9, 1, 0, 0], [CAT, 0.6, 1, 0, 0], [DOG, 0.8, 1, 0, 0]])
    assert [row["name"] for row in class_rows(candidate, _analysis(candidate))] == ["dog", "cat", "sky"]
    candidate = _evaluation([[SKY, 0.9, 1, 0, 0]])
    assert [row["name"] for row in class_rows(candidate, _analysis(candidate))] == ["sky"]
    text = _Outline(render_report(_report(candidate=candidate))).text
    assert "2 classes were neither in the truth nor predicted" in text


def test_without_images_history_or_kept_records_the_page_says_so():
    empty = _evaluation([], [])
    text = _Outline(render_report(_report(candidate=empty, charts=[], kept_aside={}))).text
    assert "The evaluated split has no images" in text
    assert "has no training history" in text
    assert "No image has a score." in text
    assert re.search(r"Skipped records\s+none", text)


def test_names_from_the_data_cannot_become_markup():
    page = render_report(_report(kept_aside={"<img src=x onerror=alert(1)>": 1}))
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' style='background:url(//example.org/x)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.txt",
    "a" * 3000,
)


def test_hostile_names_of_classes_files_and_facts_add_no_element_no_attribute_and_no_address():
    categories = CategoryTable.from_coco([{"id": n, "name": name, "isthing": 1} for n, name in enumerate(HOSTILE, 1)])
    rows = [[index, 0.9, 1, 1, 1] for index in range(len(HOSTILE))]
    lines = [image_line(name, rows=rows, attributes={"image/format": name}, num_crowds=0) for name in HOSTILE]
    confusion = [[0, 1, 5], [1, 0, 5]]
    candidate = evaluation_from_files(categories, sums_text(rows, confusion), lines)
    facts = [(name, name) for name in HOSTILE]
    page = render_report(
        _report(candidate=candidate, galleries=[], kept_aside=dict.fromkeys(HOSTILE, 1), card=facts, data_notes=facts)
    )
    plain = render_report(_report(galleries=[]))
    assert _names(page) == _names(plain)
    assert "{{ 7 * 7 }}" in page


def test_three_thousand_classes_are_all_listed_on_a_page_of_a_few_megabytes():
    count = 3000
    categories = CategoryTable.from_coco(
        [{"id": n, "name": f"class {n}", "isthing": n % 2} for n in range(1, count + 1)]
    )
    rows = [[index, 0.9, 1, 1, 1] for index in range(count)]
    attributes = {"image/format": "jpeg"}
    lines = [image_line(str(n), rows=rows[n::10], attributes=attributes, num_crowds=0) for n in range(10)]
    confusion = [[index, (index + 1) % count, 5] for index in range(count)]
    candidate = evaluation_from_files(categories, sums_text(rows, confusion), lines)
    page = render_report(_report(candidate=candidate, galleries=[]))
    assert all(f"class {n}<" in page for n in range(1, count + 1))
    assert len(page) < 5_000_000


def _names(page: str) -> set[str]:
    """The names of elements and attributes, and every style; a name from the data must add none."""
    found: set[str] = set()
    parser = html.parser.HTMLParser()

    def add(tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found.update([tag, *(f"{tag} {name}" for name, _ in attributes)])
        found.update("address" for name, value in attributes if name == "style" and "url(" in (value or ""))

    parser.handle_starttag = add
    parser.feed(page)
    assert page.count("<script") == 1
    return found


def test_the_same_input_gives_the_same_bytes():
    assert render_report(_report()) == render_report(_report())


def test_scores_and_changes_are_written_with_three_digits_and_a_sign():
    assert [format_score(score) for score in (0.12345, 1.0, None)] == ["0.123", "1.000", "–"]
    assert [format_change(change) for change in (0.1234, -0.02, 0.0004, None)] == ["+0.123", "−0.020", "±0.000", "–"]


@pytest.mark.parametrize(("num_images", "num_best", "num_worst"), [(0, 0, 0), (1, 1, 0), (5, 3, 2), (20, 6, 6)])
def test_best_and_worst_images_never_overlap(num_images, num_best, num_worst):
    images = _evaluation(lines=[image_line(str(100 + k), pq=k / 100) for k in range(num_images)]).images
    best, worst = gallery.choose_images(images, 6)
    assert (len(best), len(worst)) == (num_best, num_worst)
    assert [image.pq for image in best] == sorted((image.pq for image in images), reverse=True)[:num_best]
    assert [image.pq for image in worst] == sorted(image.pq for image in images)[:num_worst]


def test_an_image_where_nothing_counts_is_in_no_gallery():
    images = _evaluation(lines=[image_line("1", pq=None), image_line("2", pq=0.5)]).images
    assert gallery.choose_images(images, 6) == ([images[1]], [])


def test_pictures_are_jpegs_of_one_size_and_every_segment_has_a_finding():
    picture = _picture(_evaluation().images[0])
    for address in (picture.photo, picture.truth, picture.prediction):
        decoded = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))))
        assert decoded.size == (480, 320) == (picture.width_px, picture.height_px)
    assert picture.truth != picture.prediction
    assert [(row.name, row.result, row.area_px, row.iou) for row in picture.segments] == [
        ("sky", "found", 4, 1.0),
        ("cat", "missed", 1, None),
    ]
    assert [(tally.name, tally.num_true, tally.num_predicted) for tally in picture.classes] == [
        ("sky", 1, 1),
        ("cat", 1, 0),
    ]


@pytest.mark.parametrize(
    ("photo_size", "shown"),
    [((640, 480), (640, 480)), ((1920, 1440), (960, 720)), ((96, 96), (480, 480)), ((300, 200), (300, 200)),
     ((1, 1), (480, 480)), ((10_000, 1), (960, 1))],
)  # fmt: skip
def test_a_photo_is_shown_as_it_is_with_960_px_at_most_and_a_small_one_enlarged(photo_size, shown):
    assert gallery.shown_size(*photo_size) == shown


def test_confusions_leave_out_what_is_right_missed_or_invented():
    confusion = [[CAT, CAT, 6], [CAT, DOG, 3], [CAT, -1, 1], [-1, DOG, 9], [DOG, SKY, 4]]
    rows = confusion_rows(_evaluation(confusion=confusion))
    assert [(row["true"], row["predicted"], row["count"], row["share"]) for row in rows] == [
        ("dog", "sky", 4, 1.0),
        ("cat", "dog", 3, 0.3),
    ]


def test_random_images_are_the_same_ones_again_and_the_most_changed_come_first():
    images = _evaluation(lines=[image_line(str(100 + k), pq=k / 100) for k in range(20)]).images
    assert gallery.choose_random(images, 4) == gallery.choose_random(images, 4)
    assert len({image.source_id for image in gallery.choose_random(images, 4)}) == 4
    assert gallery.choose_random([], 4) == []
    former = _evaluation(
        lines=[image_line("100", pq=0.5), image_line("101", pq=0.01), image_line("105", pq=None)]
    ).images
    [(image, change), *rest] = gallery.choose_most_changed(images, former, 3)
    assert (image.source_id, change, rest) == ("100", -0.5, [])


def test_what_failed_is_shown_first_and_many_rules_that_held_are_folded():
    held = [Reason(rule=str(number), passed=True, words=f"rule {number} held") for number in range(7)]
    failed = Reason(rule="f", passed=False, words="rule f failed")
    shown, folded = split_reasons([*held, failed])
    assert [reason.rule for reason in shown] == ["f", "0", "1", "2", "3"]
    assert [reason.rule for reason in folded] == ["4", "5", "6"]
    assert split_reasons(held[:5]) == (held[:5], [])
