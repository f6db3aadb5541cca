"""From the built wheel in an empty environment to the timeline of a spoken file, timed command by command.

    python benchmarks/fresh_wheel.py [--extra-index-url URL]

The wheel is built from this checkout and installed with the pinned versions of `constraints.txt` into an environment
that has nothing else; what follows runs in an empty folder, with an empty weights folder. Installation is printed apart
from what comes after it; processor time stands beside the clock, which says little on a busy machine. The recording is
the sample of read speech in the encoder's own package, since the environment has no other.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def timed(name: str, *command: str | Path, folder: Path, environment: dict[str, str]) -> float:
    """Run a command, print and return its seconds; its own output is shown where it fails."""
    begin, cpu = time.monotonic(), children_cpu_s()
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    print(f"{name:<40}{seconds:8.1f} s{children_cpu_s() - cpu:8.1f} s of processor time", flush=True)
    if ended.returncode:
        sys.exit(f"{ended.stdout}{ended.stderr}")
    return seconds


def children_cpu_s() -> float:
    """Processor time in seconds of every command that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra-index-url", default=TORCH_INDEX, help="where pip finds PyTorch's processor build")
    index = parser.parse_args().extra_index_url
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    torch = next(line for line in pinned.splitlines() if line.startswith("torch=="))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"HOME": name, "XDG_CACHE_HOME": str(folder / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        work = folder / "work"
        work.mkdir()
        venv.create(folder / "venv", with_pip=True)
        python, cimeu = folder / "venv" / "bin" / "python", folder / "venv" / "bin" / "cimeu"

        def step(name: str, *command: str | Path) -> float:
            return timed(name, *command, folder=work, environment=environment)

        pip = (python, "-m", "pip")
        step("build the wheel", *pip, "wheel", "--no-deps", "--wheel-dir", folder / "dist", ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
        print(f"{wheel.name:<40}{wheel.stat().st_size / 1e6:8.1f} MB")
        extra = ("--retries", "1", "--timeout", "30", "--extra-index-url", index)
        step("install PyTorch", *pip, "install", "--no-deps", *extra, torch)
        step("install the wheel", *pip, "install", "--constraint", ROOT / "constraints.txt", wheel)
        fetch = step("cimeu weights fetch moonshine", cimeu, "weights", "fetch", "moonshine", "--sample", "speech.wav")
        predict = step("cimeu predict speech.wav -o results/", cimeu, "predict", "speech.wav", "-o", "results/")
        assert (work / "results" / "speech.html").is_file()
        print(f"{'after installation':<40}{fetch + predict:8.1f} s")


if __name__ == "__main__":
    main()
