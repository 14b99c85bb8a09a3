"""Fuzzes the parsers of sfloop/native/wire, on a build with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/fuzz/run.py --seconds 10
    python tests/fuzz/run.py --seconds 600 --engine mutation --seed 7
    python tests/fuzz/run.py --input crash-1234     # once more, what has failed

With clang it is libFuzzer, which looks for inputs that reach new code; without, a loop that changes seeds at random.
The seeds are frames that the emitters wrote. Exit status 1 when something was found; the input is then named.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "sfloop" / "native"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
SANITIZERS = "address,undefined"
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


class Failed(Exception):
    """Something is missing, or does not compile."""


def run(command: list[str], **options: object) -> int:
    """The exit status of a command, which is shown when it could not be started."""
    try:
        return subprocess.run(command, env=ENVIRONMENT, check=False, **options).returncode  # type: ignore[call-overload]
    except OSError as error:
        raise Failed(f"{shlex.join(command)}: {error}") from error


def build(compiler: list[str], sanitizers: str, sources: list[str], program: Path) -> bool:
    """Compiles with the whole of wire; false, and the compiler's complaint shown, if that fails."""
    files = [str(HERE / name) for name in sources] + [str(path) for path in sorted((NATIVE / "wire").glob("*.c"))]
    include = ["-I", str(NATIVE / "include")]
    return run([*compiler, *FLAGS, f"-fsanitize={sanitizers}", *include, *files, "-o", str(program)]) == 0


def has_libfuzzer(clang: str, scratch: Path) -> bool:
    """Debian's clang is there without its run-time libraries unless those are installed too."""
    source = scratch / "empty.c"
    source.write_text("int LLVMFuzzerTestOneInput(const char *d, long n) { return d == 0 && n < 0; }\n")
    command = [clang, f"-fsanitize=fuzzer,{SANITIZERS}", str(source), "-o", str(scratch / "empty")]
    return run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def choose_engine(wanted: str, scratch: Path) -> tuple[str, list[str]]:
    """The engine's name and its compiler."""
    clang = shutil.which(os.environ.get("CLANG", "clang"))
    if wanted != "mutation" and clang and has_libfuzzer(clang, scratch):
        return "libfuzzer", [clang]
    if wanted == "libfuzzer":
        raise Failed("--engine libfuzzer: there is no clang with libFuzzer; install clang, or name it in CLANG")
    return "mutation", shlex.split(os.environ.get("CC", "cc"))


def write_seeds(compiler: list[str], scratch: Path) -> Path:
    """The folder with the frames that the emitters make."""
    program, corpus = scratch / "seeds_wire", scratch / "corpus"
    corpus.mkdir()
    if not build(compiler, SANITIZERS, ["seeds_wire.c"], program) or run([str(program), str(corpus)]):
        raise Failed("the seeds could not be made")
    return corpus


def command_line(engine: str, program: Path, options: argparse.Namespace, corpus: Path, failures: Path) -> list[str]:
    """What runs the fuzzer for the time and the seed asked for."""
    if engine == "mutation":
        return [str(program), str(options.seconds), str(options.seed), str(corpus), f"{failures}/failure"]
    limits = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-max_len=4096", "-timeout=5"]
    if options.input:
        return [str(program), str(options.input)]
    return [str(program), *limits, f"-artifact_prefix={failures}/", str(corpus)]


def fuzz(options: argparse.Namespace, scratch: Path) -> int:
    """Builds, runs, and says what was found."""
    engine, compiler = choose_engine(options.engine, scratch)
    program = scratch / "fuzz_wire"
    sources = ["fuzz_wire.c"] if engine == "libfuzzer" else ["fuzz_wire.c", "mutate.c"]
    sanitizers = f"fuzzer,{SANITIZERS}" if engine == "libfuzzer" else SANITIZERS
    print(f"wire: {engine}, {' '.join(compiler)}, {options.seconds} s, seed {options.seed}", flush=True)
    if not build(compiler, sanitizers, sources, program):
        raise Failed("the fuzzer does not compile")
    corpus = write_seeds(compiler, scratch)
    if options.input and engine == "mutation":  # the seeds are run first, so that one seed and no time is that input
        shutil.rmtree(corpus)
        corpus.mkdir()
        shutil.copy(options.input, corpus)
        options.seconds = 0
    failures = Path(options.failures).resolve()
    failures.mkdir(parents=True, exist_ok=True)
    log = scratch / "log"
    with log.open("w") as stream:
        status = run(command_line(engine, program, options, corpus, failures), stdout=stream, stderr=stream)
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join(lines if status else lines[-1:]), flush=True)
    if status:
        print(f"wire: failed (status {status}); what failed is in {failures}", file=sys.stderr)
        return 1
    if not any(failures.iterdir()):
        failures.rmdir()
    print("wire: nothing found")
    return 0


def main() -> int:
    """Reads the command line, and works in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description="Fuzz the wire formats.")
    parser.add_argument("--seconds", type=int, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, default=1, help="what the random numbers begin with (1)")
    parser.add_argument("--engine", choices=["auto", "libfuzzer", "mutation"], default="auto")
    parser.add_argument("--input", type=Path, help="run this input once instead")
    parser.add_argument("--failures", default="build/fuzz", help="the folder for inputs that fail (build/fuzz)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sfloop-fuzz-") as scratch:
        try:
            return fuzz(options, Path(scratch))
        except Failed as error:
            print(f"wire: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
