"""Segments one photo with a network: resizes, pads, proposes, upsamples the proposals and merges them.

The Python path and every signature of the exported model are these functions, so they cannot differ. What makes it
quick is that nothing is done at full size for a query that says "no object": masks are made for the kept queries alone,
and upsampled a band of rows at a time, so that memory does not grow with the photo. With test-time augmentation
(`task.inference.augmented_edges_px`) the proposals are those of all views. `postprocessing` says what logits
mean, `export.photo_decoding` decodes, and `export.signatures` gives the answers their form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from maskformer_model.config import InferenceConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.data.preprocessing import resize_for_inference
from maskformer_model.inference import bands, postprocessing, semantic_bands, semantic_windows, test_time_augmentation
from maskformer_model.modeling.maskformer import MaskFormer

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Proposals:
    """The network's output for one photo, before it is resized to the photo.

    Attributes:
        class_logits: `[queries, classes + 1]` float32.
        mask_embeddings: `[queries, mask_dim]`; None where masks were merged from several views.
        pixels: `[height, width, channels]`, see `MaskFormer.propose`.
        photo_size_px: `[2]` int32, height and width of the photo, as are the other sizes.
        padded_size_px: what the network saw; None where it is the photo alone.
        valid_size_px: the height and width of the part that is photo.
        merged_masks: `[queries, height, width]` float32 mask logits of all views, in place of embeddings and pixels.
    """

    class_logits: Tensor
    mask_embeddings: Tensor
    pixels: Tensor
    photo_size_px: Tensor
    padded_size_px: Tensor
    valid_size_px: Tensor
    merged_masks: Tensor = None


class PhotoInference:
    """The three tasks for one photo `[height, width, 3]` uint8 RGB, answered at the photo's own size.

    Args:
        network: Built.
        config: Sizes that the photo is resized and padded to.
        isthing: `[classes]` bool.
    """

    def __init__(self, network: MaskFormer, config: InferenceConfig, isthing: Tensor):
        self.network = network
        self.config = config
        self.isthing = isthing
        # One graph of the network, however many functions of an export call it: traced, stored and loaded once.
        self._network_outputs = tf.function(
            self._propose,
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None, 2], tf.int32)],
            autograph=False,
        )
        self._view_outputs = tf.function(
            self._all_outputs,
            input_signature=[tf.TensorSpec([1, None, None, 3])],
            autograph=False,
        )

    def panoptic(self, photo: Tensor, object_mask_threshold: Tensor, overlap_threshold: Tensor) -> dict[str, Tensor]:
        """`postprocessing.panoptic_inference` of the photo; lists have a row per kept query, at least one."""
        return self.panoptic_of(self.propose(photo), object_mask_threshold, overlap_threshold)

    def panoptic_of(
        self, proposals: Proposals, object_mask_threshold: Tensor, overlap_threshold: Tensor
    ) -> dict[str, Tensor]:
        """`panoptic` of what the network proposed."""
        kept, mask_logits = self.kept_masks(proposals, object_mask_threshold)
        return self.merge(proposals, kept, mask_logits, overlap_threshold)

    def kept_masks(
        self, proposals: Proposals, object_mask_threshold: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Returns what `postprocessing.classify_queries` says of the kept queries, `[kept]` each, and their masks.

        There is at least one row: where no query is kept, that of one that is not. The masks have the size of the
        network's outputs.
        """
        classified = postprocessing.classify_queries(proposals.class_logits, object_mask_threshold)
        order, num_kept = postprocessing.kept_first(classified[0])
        kept = order[: tf.maximum(num_kept, 1)]
        keep, classes, scores = (tf.gather(one, kept) for one in classified)
        return (keep, classes, scores), self._mask_logits(proposals, kept)

    def merge(
        self,
        proposals: Proposals,
        kept: tuple[Tensor, Tensor, Tensor],
        mask_logits: Tensor,
        overlap_threshold: Tensor,
    ) -> dict[str, Tensor]:
        """What `panoptic` does after the network; `kept` and `mask_logits` are those of `kept_masks`."""
        keep, classes, scores = (one[None] for one in kept)
        num_rows = tf.shape(kept[0])[0]
        pixel_threshold = self.config.pixel_threshold

        def assign(mask_logits, own_areas, owners):
            owner, _, own = postprocessing.assign_pixels(keep, scores, mask_logits[None], pixel_threshold)
            return own_areas + own[0], owners.write(owners.size(), tf.reshape(owner, [-1]))

        owners = tf.TensorArray(tf.int32, size=0, dynamic_size=True, infer_shape=False, element_shape=[None])
        masks_at = bands.enlarged(mask_logits, *self._resize_weights(proposals))
        state = (tf.zeros([num_rows], tf.int32), owners)
        photo_size_px = proposals.photo_size_px
        own_areas, owners = bands.fold(photo_size_px, bands.mask_band_height_px(photo_size_px), masks_at, assign, state)
        owner = owners.concat()
        # Once over the whole photo, in place of the sums that `assign_pixels` would make of each band.
        owned_areas = tf.math.bincount(owner, minlength=2 * num_rows, maxlength=2 * num_rows)
        segments = postprocessing.merge_queries(
            keep,
            classes,
            scores,
            tf.reshape(owned_areas, [1, 2, num_rows]),
            own_areas[None],
            self.isthing,
            overlap_threshold,
        )
        answer = {name: value[0] for name, value in segments.items()}
        segment_map = tf.gather(answer.pop("segment_ids"), owner)
        return {"segment_map": tf.reshape(segment_map, proposals.photo_size_px), **answer}

    def semantic(self, photo: Tensor) -> Tensor:
        """`[height, width]` int32 class indices: the best of `postprocessing.semantic_inference` at every pixel."""
        if self.config.window_px:
            return semantic_windows.class_map(self._view_outputs, photo, self.config.window_px)
        return semantic_bands.class_map(self._views(photo), tf.shape(photo)[:2], self.config.semantic_fusion_size)

    def instances(self, photo: Tensor, describe_mask: Callable[[Tensor], dict[str, Tensor]], signature, max_instances):
        """Returns the pairs of `postprocessing.instance_inference`, and a description of each pair's mask.

        Args:
            photo: See the class.
            describe_mask: `[height, width]` bool -> what is kept of a mask.
            signature: `tf.TensorSpec`s of that.
            max_instances: How many pairs are chosen.

        Returns:
            `classes` `[instances]` int32, -1 for a pair that is none; `scores` `[instances]` float32; and the
            descriptions, `[instances, ...]`.
        """
        proposals = self.propose(photo)
        rows, columns = self._resize_weights(proposals)
        mask_logits = self._mask_logits(proposals, tf.range(tf.shape(proposals.class_logits)[0]))

        def describe(one):
            full_size = tf.matmul(tf.matmul(rows, one), columns, transpose_b=True)
            inside = full_size > 0
            # The reference divides by the area plus 1e-6.
            area = tf.reduce_sum(tf.cast(inside, tf.float32)) + 1e-6
            return tf.reduce_sum(tf.where(inside, tf.sigmoid(full_size), 0.0)) / area, describe_mask(inside)

        # One mask at a time: all of them at full size would be the largest thing in memory.
        mean_probs, described = tf.map_fn(
            describe,
            mask_logits,
            fn_output_signature=(tf.TensorSpec([], tf.float32), signature),
            parallel_iterations=1,
        )
        queries, classes, scores = postprocessing.instance_pairs(
            proposals.class_logits[None], mean_probs[None], isthing=self.isthing, max_instances=max_instances
        )
        pairs = {name: tf.gather(value, queries[0]) for name, value in described.items()}
        return {"classes": classes[0], "scores": scores[0], **pairs}

    def propose(self, photo: Tensor) -> Proposals:
        """The network's part."""
        if self.config.augmented_edges_px:
            class_logits, masks = test_time_augmentation.merged_queries(self._view_outputs, photo, self.config)
            return Proposals(class_logits, None, None, tf.shape(photo)[:2], None, None, merged_masks=masks)
        padded, valid_size_px = self.prepare(photo)
        outputs = self._network_outputs(padded[None], valid_size_px[None])
        return _proposals_at(0, outputs, tf.shape(padded)[:2], valid_size_px[None], tf.shape(photo)[None, :2])

    def propose_all(
        self, padded: Tensor, valid_sizes_px: Tensor, photo_sizes_px: Tensor
    ) -> Callable[[Tensor], Proposals]:
        """The network's part for photos that are padded to one size; gives the proposals for a place in the batch.

        Args:
            padded: `[batch, height, width, 3]` uint8.
            valid_sizes_px: `[batch, 2]` int32.
            photo_sizes_px: `[batch, 2]` int32.
        """
        outputs = self._network_outputs(padded, valid_sizes_px)
        return lambda place: _proposals_at(place, outputs, tf.shape(padded)[1:3], valid_sizes_px, photo_sizes_px)

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """`class_logits` and `mask_logits` of all queries of unpadded images `[batch, height, width, 3]` uint8."""
        batch, height, width, _ = tf.unstack(tf.shape(images))
        outputs = self._network_outputs(images, tf.broadcast_to(tf.stack([height, width]), [batch, 2]))
        mask_logits = self.network.all_mask_logits(outputs["mask_embeddings"], outputs["pixels"])
        return {"class_logits": outputs["class_logits"], "mask_logits": mask_logits}

    def _all_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """The same of normalised images."""
        outputs = self.network(images, training=False)
        return {name: tf.cast(outputs[name], tf.float32) for name in ("class_logits", "mask_logits")}

    def _propose(self, padded: Tensor, valid_sizes_px: Tensor) -> dict[str, Tensor]:
        return self.network.propose(normalize(padded, None if self.config.pads_with_black else valid_sizes_px))

    def prepare(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees of a photo, `[height, width, 3]` uint8, and the size of the part that is photo."""
        resized = resize_for_inference(photo, self.config)
        return pad_to_multiple(resized, self.config.size_divisibility), tf.shape(resized)[:2]

    def _views(self, photo: Tensor) -> list[test_time_augmentation.View]:
        """Returns all queries of each view; without augmentation the photo is the only one."""
        if self.config.augmented_edges_px:
            return list(test_time_augmentation.views_of(self._view_outputs, photo, self.config))
        proposals = self.propose(photo)
        return [
            test_time_augmentation.View(
                class_logits=proposals.class_logits,
                mask_logits=self._mask_logits(proposals, tf.range(tf.shape(proposals.class_logits)[0])),
                padded_size_px=tuple(tf.unstack(proposals.padded_size_px)),
                valid_size_px=tuple(tf.unstack(proposals.valid_size_px)),
            )
        ]

    def _resize_weights(self, proposals: Proposals) -> tuple[Tensor, Tensor]:
        photo_size_px = tf.unstack(proposals.photo_size_px)
        if proposals.merged_masks is not None:
            return postprocessing.resize_weights(tf.unstack(tf.shape(proposals.merged_masks)[1:]), photo_size_px)
        return postprocessing.resize_weights(
            tf.unstack(tf.shape(proposals.pixels)[:2]),
            photo_size_px,
            padded_size_px=tf.unstack(proposals.padded_size_px),
            valid_size_px=tf.unstack(proposals.valid_size_px),
        )

    def _mask_logits(self, proposals: Proposals, queries: Tensor) -> Tensor:
        if proposals.merged_masks is not None:
            return tf.gather(proposals.merged_masks, queries)
        chosen = tf.gather(proposals.mask_embeddings, queries)
        return tf.cast(self.network.mask_logits_of(chosen, proposals.pixels), tf.float32)


def _proposals_at(
    place: Tensor, outputs: dict[str, Tensor], padded_size_px: Tensor, valid_sizes_px: Tensor, photo_sizes_px: Tensor
) -> Proposals:
    return Proposals(
        class_logits=tf.cast(outputs["class_logits"][place], tf.float32),
        mask_embeddings=outputs["mask_embeddings"][place],
        pixels=outputs["pixels"][place],
        photo_size_px=photo_sizes_px[place],
        padded_size_px=padded_size_px,
        valid_size_px=valid_sizes_px[place],
    )


def pad_to_multiple(image: Tensor, divisor: int) -> Tensor:
    """Pads `[height, width, channels]` at the bottom and right to multiples of `divisor`; 0 pads nothing."""
    if not divisor:
        return image
    missing = -tf.shape(image)[:2] % divisor
    return tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]])
