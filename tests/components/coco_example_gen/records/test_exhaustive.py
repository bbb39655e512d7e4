"""Real nuclei as instances and as panoptic: the same predictions get the same PQ, to the last bit."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.reader import read_checked_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.sources import sources_of
from maskformer_model.metrics.panoptic_quality import PanopticCounts, count_matches, panoptic_quality
from maskformer_model.metrics.segment_matching import MatchedSegment, match_segments


def nuclei_counts(data_dir, work_dir, **options):
    """TP, FP, FN and PQ of nuclei that are frayed, and of some that are invented on the background."""
    work_dir.mkdir()
    source = sources_of(str(data_dir), IngestOptions(**options))["eval"]
    plan = plan_split(SplitRequest(split="eval", num_shards=1, max_images=4), source, str(work_dir))
    nucleus = plan.categories.names.index("nucleus")
    counts = PanopticCounts.zeros(plan.categories.num_classes)
    for number, ref in enumerate(read_references(plan.shards[0])):
        record, truth_ids, _ = read_checked_record(ref, source, plan.categories)
        truth = [MatchedSegment(s.id, s.class_index, s.iscrowd, s.area_px) for s in record.segments]
        is_nucleus = np.isin(truth_ids, [segment.id for segment in truth if segment.class_index == nucleus])
        noise = ndimage.gaussian_filter(np.random.default_rng(number).normal(size=truth_ids.shape), 4)
        found, count = ndimage.label((ndimage.binary_dilation(is_nucleus) & (noise > -0.1)) | (noise > 0.15))
        predicted = [MatchedSegment(number + 1, nucleus) for number in range(count)]
        matches = match_segments(
            truth_ids, truth, found.astype(np.int32), predicted, void_is_background=record.void_is_background
        )
        counts += count_matches(matches, truth, predicted, plan.categories.num_classes)
    pq = panoptic_quality(counts, plan.categories.isthing).per_class.pq[nucleus]
    columns = (counts.true_positives, counts.false_positives, counts.false_negatives)
    return *(int(column[nucleus]) for column in columns), float(pq)


def test_both_forms_of_real_nuclei_give_the_same_pq_and_void_flatters(shared_dir, tmp_path):
    data_dir = shared_dir / "data" / "nuclei"
    instances = nuclei_counts(data_dir, tmp_path / "instances", layout="coco_instances")
    assert instances == nuclei_counts(data_dir, tmp_path / "panoptic", layout="coco_panoptic")
    void = nuclei_counts(data_dir, tmp_path / "void", layout="coco_instances", unlabeled="void")
    assert void[1] < instances[1] and void[-1] > instances[-1]
