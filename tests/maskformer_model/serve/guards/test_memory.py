"""What fits a machine."""

import resource
import subprocess
import sys

from maskformer_model.serve.guards import memory


def test_the_largest_photo_fits_a_quarter_of_the_memory():
    gib = 1 << 30
    # 4 GiB / 4 / 32 bytes.
    assert memory.max_pixels_for_memory(4 * gib) == 33_554_432
    assert memory.max_pixels_for_memory(64 * gib) == 50_000_000
    assert memory.max_pixels_for_memory(gib // 16) == 1_000_000


def test_connections_fit_the_limit_of_descriptors():
    code = (
        "import resource\n"
        "from maskformer_model.serve.guards import memory\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))\n"
        "print(memory.allow_connections(100), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(memory.allow_connections(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    # 96 are kept for other things.
    assert done.stdout.split() == ["100", "196", "204", "300"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
