"""A task that fails goes on, and says so."""

import asyncio

from maskformer_model.serve.background import BackgroundTask


def test_a_step_that_fails_is_called_again_and_health_says_why_until_it_succeeds():
    said = []

    async def main():
        async def step():
            said.append(task.behind())
            if len(said) <= 2:
                raise OSError(24, "Too many open files")
            if len(said) == 4:
                raise asyncio.CancelledError

        task = BackgroundTask("Looking for versions", step, every_s=0.0)
        await asyncio.wait_for(asyncio.gather(task.run(), return_exceptions=True), 30)

    asyncio.run(main())
    assert said[0] == "" and said[3] == ""
    assert "Looking for versions has failed for" in said[1] and "1 times in a row" in said[1]
    assert "2 times in a row: OSError: [Errno 24] Too many open files" in said[2]


def test_waiting_doubles_with_each_failure_up_to_half_a_minute():
    async def main():
        async def step():
            raise ValueError("no")

        task = BackgroundTask("Failing", step, every_s=2.0)
        waits = [task.wait_s()]
        for _ in range(6):
            task.note_failure(ValueError("no"))
            waits.append(task.wait_s())
        return waits

    assert asyncio.run(main()) == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
