"""Puts what was found in a data folder on one page: tables as text for a terminal, and as HTML with pictures."""

from __future__ import annotations

import base64
import collections
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from components.coco_example_gen.inspection.odd_things import odd_things
from components.coco_example_gen.inspection.survey import SplitSurvey
from components.html_pages import templates_of
from maskformer_model.config import ExperimentConfig
from maskformer_model.data import panoptic_png, photo_files
from maskformer_model.data.examples import ExampleRecord
from maskformer_model.metrics.query_ceiling import SegmentRanks, ceiling_sentence
from maskformer_model.prediction.visualization import DrawnSegment, draw_panoptic

QUERY_COUNTS = (20, 50, 100, 200, 300)
_TEMPLATE = "page.html.j2"
_LONGEST_SIDE_PX = 640
_MOST_CLASSES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        header: The names of the table's columns; empty without a table.
        rows: The rows of the table, as text.
        lines: sentences under the table.
    """

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One photo and its truth, each a `data:` address."""

    caption: str
    photo: str
    truth: str


def sections_of(
    surveys: Sequence[SplitSurvey],
    config: ExperimentConfig,
    facts: Sequence[str],
    others: Sequence[tuple[str, dict[str, SegmentRanks]]] = (),
) -> list[Section]:
    """Returns what was found, in the order of the page.

    Args:
        surveys: The surveys of the splits.
        config: the model that is planned.
        facts: sentences about the layout.
        others: further forms in which the folder can be read, by layout: the ranks of their splits.
    """
    ranks = {survey.split: survey.ranks for survey in surveys}
    sections = [
        Section(title="Layout", lines=facts),
        _photos(surveys),
        _classes(surveys),
        _ceilings(surveys[0].source.layout, ranks, config),
    ]
    sections += [_ceilings(layout, of_splits, config) for layout, of_splits in others]
    sections.append(Section(title="Odd things found", lines=odd_things(surveys) or ["none"]))
    sections.append(_kept_aside(surveys))
    sections.append(_noticed(surveys))
    return sections


def as_text(title: str, sections: Sequence[Section]) -> str:
    """Returns the page for a terminal."""
    lines = [title]
    for section in sections:
        lines += ["", section.title, "-" * len(section.title)]
        table = [section.header, *section.rows] if section.header else []
        widths = [max(len(row[column]) for row in table) for column in range(len(section.header))]
        for row in table:
            padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join([row[0].ljust(widths[0]), *padded[1:]]).rstrip())
        lines += section.lines
    return "\n".join(lines)


def as_html(title: str, sections: Sequence[Section], pictures: Sequence[Picture]) -> str:
    """Returns the page as one HTML file that fetches nothing."""
    return templates_of(__file__).get_template(_TEMPLATE).render(title=title, sections=sections, pictures=pictures)


def picture_of(survey: SplitSurvey, record: ExampleRecord) -> Picture:
    """Draws a photo beside its truth."""
    photo = photo_files.decode(record.image_encoded)
    height, width = photo.shape[:2]
    scale = min(1.0, _LONGEST_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
    ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
    shown_ids = np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    drawn = [DrawnSegment(id=s.id, class_index=s.class_index) for s in record.segments]
    truth = draw_panoptic(pixels, shown_ids, drawn, survey.categories)
    caption = f"{survey.split}: {record.filename}, {width} x {height} px, {len(record.segments)} segments"
    return Picture(caption=caption, photo=_data_address(pixels), truth=_data_address(truth))


def _photos(surveys: Sequence[SplitSurvey]) -> Section:
    def row(label: str, *values: str) -> list[str]:
        return [label, *values]

    def spread(values: Sequence[int]) -> str:
        return f"{min(values):,} / {int(np.median(values)):,} / {max(values):,}" if values else "-"

    def sizes(survey: SplitSurvey) -> str:
        ordered = sorted(survey.sizes_px, key=lambda size: size[0] * size[1])
        picked = [ordered[0], ordered[len(ordered) // 2], ordered[-1]] if ordered else []
        return " / ".join(f"{width}x{height}" for height, width in dict.fromkeys(picked)) or "-"

    rows = [
        row("photos", *(f"{s.num_photos:,}" for s in surveys)),
        row("formats", *(", ".join(f"{n:,} {kind}" for kind, n in s.formats.most_common()) or "-" for s in surveys)),
        row("sizes, px (smallest / median / largest)", *map(sizes, surveys)),
        row("segments (things / stuff)", *(_things_and_stuff(s) for s in surveys)),
        row("segments of a photo (fewest / median / most)", *(spread(s.segments_per_photo) for s in surveys)),
        row("things small / medium / large", *(" / ".join(f"{n:,}" for n in s.thing_sizes) for s in surveys)),
        row("crowds", *(f"{int(s.crowds.sum()):,}" for s in surveys)),
        row("pixels without a label", *(_share(s.all_pixels - int(s.pixels.sum()), s.all_pixels) for s in surveys)),
        row("skipped records", *(f"{len(s.kept_aside):,}" for s in surveys)),
    ]
    return Section(title="Photos", header=["", *(s.split for s in surveys)], rows=rows)


def _things_and_stuff(survey: SplitSurvey) -> str:
    isthing = survey.categories.isthing
    return f"{int(survey.segments[isthing].sum()):,} / {int(survey.segments[~isthing].sum()):,}"


def _classes(surveys: Sequence[SplitSurvey]) -> Section:
    categories = surveys[0].categories
    same = [survey for survey in surveys if survey.categories == categories]
    header = ["class", "id", "kind"]
    for survey in same:
        header += [f"{survey.split}: segments", "photos", "pixels"]
    rows = []
    for index, category in enumerate(categories.categories[:_MOST_CLASSES]):
        row = [category.name, str(int(category.id)), "thing" if category.isthing else "stuff"]
        for survey in same:
            row += [f"{survey.segments[index]:,}", f"{survey.photos[index]:,}"]
            row.append(_share(int(survey.pixels[index]), survey.all_pixels))
        rows.append(row)
    more = categories.num_classes - len(rows)
    return Section(title="Classes", header=header, rows=rows, lines=[f"and {more} more classes"] if more else [])


def _ceilings(layout: str, ranks: dict[str, SegmentRanks], config: ExperimentConfig) -> Section:
    """Computes the best PQ that a number of queries allows, by split; with stuff also for things and stuff alone."""
    limits = config.task.model.num_queries, config.task.train_data.parser.max_targets
    counts = sorted({*QUERY_COUNTS, min(limits)})
    header, columns = ["queries"], []
    for split, of_split in ranks.items():
        qualities = [of_split.ceiling(count) for count in counts]
        kinds = [kind for kind in ("things", "stuff") if getattr(qualities[0], kind).num_classes]
        for kind in ("all", *(kinds if len(kinds) > 1 else ())):
            header.append(split if kind == "all" else kind)
            columns.append([f"{getattr(quality, kind).pq:.3f}" for quality in qualities])
    rows = [[str(count), *(column[place] for column in columns)] for place, count in enumerate(counts)]
    lines = [ceiling_sentence(split, of_split, *limits) for split, of_split in ranks.items()]
    return Section(
        title=f"Query ceiling, read as {layout}: the best possible PQ", header=header, rows=rows, lines=lines
    )


def _kept_aside(surveys: Sequence[SplitSurvey]) -> Section:
    rows = []
    for survey in surveys:
        first = {entry.reason: entry for entry in reversed(survey.kept_aside)}
        for reason, count in collections.Counter(entry.reason for entry in survey.kept_aside).most_common():
            entry = first[reason]
            rows.append(
                [reason, survey.split, f"{count:,}", f"{entry.file_name or entry.image_id}: {entry.detail}"[:160]]
            )
    if not rows:
        return Section(title="Skipped records", lines=["none"])
    return Section(title="Skipped records", header=["reason", "split", "records", "the first"], rows=rows)


def _noticed(surveys: Sequence[SplitSurvey]) -> Section:
    rows = [[reason, s.split, f"{count:,}"] for s in surveys for reason, count in s.notices.most_common()]
    if not rows:
        return Section(title="Noticed", lines=["nothing"])
    return Section(title="Noticed (costs no record)", header=["what", "split", "times"], rows=rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _data_address(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
