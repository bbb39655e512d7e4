"""The networks: which parts, in which order. Losses and what logits mean as segments are in other folders."""
