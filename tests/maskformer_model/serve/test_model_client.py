"""Whether a call is to blame for the end of the process that it was sent to."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from maskformer_model.serve.model_client import ModelProcess, ProcessDiedError, ProcessGoneError
from maskformer_model.serve.model_process import TRIAL
from tests.components import brightness_model


def test_a_process_that_was_gone_before_the_call_is_told_from_one_that_ends_in_it(tmp_path):
    model_dir = str(brightness_model.save_model(tmp_path / "model"))

    async def kill_then_call():
        process = ModelProcess(1, model_dir)
        await process.start()
        [pid] = [child.pid for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(await process.answer(TRIAL, 60)) == 1
        os.kill(pid, signal.SIGSTOP)  # So that it dies with the call in its hands.
        calling = asyncio.create_task(process.answer(TRIAL, 60))
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessDiedError) as died:
            await calling
        assert not isinstance(died.value, ProcessGoneError)
        with pytest.raises(ProcessGoneError):
            await process.answer(TRIAL, 60)
        await process.close(1)

    asyncio.run(kill_then_call())
