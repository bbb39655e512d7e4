"""Computes before training how high PQ can get with the model's number of queries on a run's data."""

from __future__ import annotations

from pipeline.config import PipelineConfig


def ceiling_sentences(config: PipelineConfig) -> list[str]:
    """Returns a sentence per split, computed from the annotations; none for a folder of spans."""
    from components.coco_example_gen.inspection.stated_segments import stated_ranks
    from components.coco_example_gen.sources import sources_of
    from maskformer_model.metrics.query_ceiling import ceiling_sentence

    options, task = config.data.options, config.experiment.task
    if options.span_pattern:
        return []
    limits = task.model.num_queries, task.train_data.parser.max_targets
    sentences = []
    for split, source in sources_of(config.data.data_dir, options).items():
        ranks = stated_ranks(source, task.kind)
        sentences.append(ceiling_sentence(split, ranks, *limits))
    return sentences
