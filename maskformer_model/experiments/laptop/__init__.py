"""Experiments that train without an accelerator. One file per experiment."""
