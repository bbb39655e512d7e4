"""What goes together, what waits, what is turned away."""

import asyncio

import pytest

from maskformer_model.serve.batching import Batcher, OverloadError
from maskformer_model.serve.served_model import ModelUnavailableError


class Model:
    """Answers with the photo's own bytes, one call at a time, when `gate` is open."""

    def __init__(self):
        self.calls = []
        self.gate = asyncio.Event()

    async def answer(self, call):
        self.calls.append((call.signature, call.photos))
        await self.gate.wait()
        if b"poison" in call.photos:
            raise ModelUnavailableError("It failed.")
        return list(call.photos)


def run(scenario, **settings):
    """Runs `scenario(batcher, model)` while the batcher works."""

    async def main():
        model = Model()
        batcher = Batcher(model.answer, **{"max_batch": 3, "max_queue": 4, "wait_s": 0.001} | settings)
        worker = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(scenario(batcher, model), 30), model.calls
        finally:
            worker.cancel()

    return asyncio.run(main())


async def until(is_so):
    while not is_so():
        await asyncio.sleep(0)


def test_photos_that_wait_together_go_in_one_call_and_find_their_way_back():
    async def scenario(batcher, model):
        model.gate.set()
        return await asyncio.gather(*(batcher.submit("a", [photo], ()) for photo in (b"1", b"2", b"3")))

    assert run(scenario) == ([[b"1"], [b"2"], [b"3"]], [("a", (b"1", b"2", b"3"))])


def test_a_request_larger_than_a_batch_is_answered_in_order():
    async def scenario(batcher, model):
        model.gate.set()
        return await batcher.submit("a", [b"1", b"2", b"3", b"4"], ())

    assert run(scenario) == ([b"1", b"2", b"3", b"4"], [("a", (b"1", b"2", b"3")), ("a", (b"4",))])


def test_different_signatures_and_thresholds_do_not_mix():
    async def scenario(batcher, model):
        model.gate.set()
        asks = [("a", ()), ("b", ()), ("b", (("overlap_threshold", 0.5),))]
        return await asyncio.gather(*(batcher.submit(name, [b"1"], scalars) for name, scalars in asks))

    assert [signature for signature, _ in run(scenario)[1]] == ["a", "b", "b"]


def test_what_does_not_fit_is_turned_away_and_the_others_are_answered():
    async def scenario(batcher, model):
        first = asyncio.create_task(batcher.submit("a", [b"0"], ()))
        await until(lambda: model.calls)  # It is at the model; the queue is empty again.
        waiting = [asyncio.create_task(batcher.submit("a", [bytes([n])], ())) for n in range(4)]
        await until(lambda: len(batcher) == 4)
        with pytest.raises(OverloadError) as refused:
            await batcher.submit("a", [b"5"], ())
        assert refused.value.retry_after_s >= 1
        model.gate.set()
        return await asyncio.gather(first, *waiting)

    assert run(scenario)[0] == [[b"0"], [b"\0"], [b"\1"], [b"\2"], [b"\3"]]


def test_a_request_that_ran_out_of_time_is_not_worked_on():
    async def scenario(batcher, model):
        first = asyncio.create_task(batcher.submit("a", [b"0"], ()))
        await until(lambda: model.calls)
        late = asyncio.create_task(batcher.submit("a", [b"late"], ()))
        await until(lambda: len(batcher) == 1)
        late.cancel()
        after = asyncio.create_task(batcher.submit("a", [b"after"], ()))
        await until(lambda: len(batcher) == 2)
        model.gate.set()
        return await asyncio.gather(first, after)

    assert run(scenario) == ([[b"0"], [b"after"]], [("a", (b"0",)), ("a", (b"after",))])


def test_a_batch_that_fails_is_said_to_its_callers_and_the_next_one_is_answered():
    async def scenario(batcher, model):
        model.gate.set()
        with pytest.raises(ModelUnavailableError):
            await batcher.submit("a", [b"poison"], ())
        return await batcher.submit("a", [b"1"], ())

    assert run(scenario)[0] == [b"1"]
