"""The memory of the machine that runs the tests."""

from maskformer_model.backend.memory import free_memory_bytes, memory_bytes


def test_there_is_memory_and_not_more_is_free_than_there_is():
    assert 2**26 < free_memory_bytes() <= memory_bytes() < 2**62
