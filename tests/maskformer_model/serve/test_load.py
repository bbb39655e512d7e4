"""Twenty seconds of what `python -m tests.load` does for ten minutes: mixed load, a switch, a kill, no error."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import random
import signal
import threading
import time

import psutil
import pytest

from tests.components import brightness_model
from tests.maskformer_model.serve.running_server import RunningServer, push

SECONDS = 20


@pytest.mark.slow
def test_mixed_load_over_a_switch_and_a_kill_fails_no_request_and_keeps_its_memory(tmp_path):
    model = brightness_model.save_model(tmp_path / "model")
    serving_dir = tmp_path / "serving"
    serving_dir.mkdir()
    push(model, serving_dir, 100)
    server = RunningServer(serving_dir).wait_until_ready()
    photos = [brightness_model.scene(n, size_px=(24 + 8 * n, 40)).image_encoded for n in range(6)]
    done = threading.Event()
    counts: collections.Counter = collections.Counter()

    def call(seed):
        choose = random.Random(seed)
        while not done.is_set():
            is_bad = choose.random() < 0.2
            answer = server.predict(choose.choice(photos), *([b"no photo"] if is_bad else []))
            counts[is_bad, answer.status] += 1

    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            calling = [pool.submit(call, seed) for seed in range(4)]
            try:
                time.sleep(SECONDS / 5)
                memory = psutil.Process(server.pid).memory_info().rss
                push(model, serving_dir, 200)
                server.wait_for(lambda: server.metric("maskformer_model_version") == 200)
                for pid in server.model_pids():
                    os.kill(pid, signal.SIGKILL)
                # However long a loaded machine took until here, photos come for a while after the kill.
                time.sleep(SECONDS / 2)
            finally:
                done.set()
            for one in calling:
                one.result()
        assert set(counts) == {(False, 200), (True, 400)}, counts
        assert server.metric("maskformer_process_restarts_total") >= 1
        assert psutil.Process(server.pid).memory_info().rss < 1.2 * memory + 20e6
    finally:
        assert server.stop() == 0
