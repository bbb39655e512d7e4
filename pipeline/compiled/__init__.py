"""Specs compiled for Kubeflow and Vertex: compiling, checking, the containers' entry point, local test runs."""
