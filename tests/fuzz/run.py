"""Fuzzes the code that reads frames and ciphertext, built with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/fuzz/run.py --seconds 10
    python tests/fuzz/run.py --target tcp --seconds 600 --engine mutation --seed 7
    python tests/fuzz/run.py --target wire --input crash-1234     # runs an input that has failed again

The targets are:

- `wire`: the parsers of sfloop/native/wire.
- `tcp`: segments to a connection in any state.
- `drivers`: the wrappers that read frames, and descriptions of faults.
- `netlink`: the kernel's messages about routes and neighbours.
- `tls`: ciphertext before and after the handshake, with the OpenSSL that is installed.

Without --target, each target runs for the given time. With clang the engine is libFuzzer, which searches for inputs
that reach new code. Without clang it is a loop that changes seeds at random. The exit status is 1 if an input has
failed; the output then names the input.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "sfloop" / "native"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE=", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
SANITIZERS = "address,undefined"
#: The sources under sfloop/native that each target runs.
_STACK = ["wire/*.c", "storage/*.c", "tcpip/**/*.c", "stacks/tcpip/[mrst]*.c"]
TARGETS = {
    "wire": ["wire/*.c"],
    "tcp": _STACK,
    "drivers": [f"drivers/wrappers/{name}.c" for name in ("fault", "fault_description", "pcap", "trace")],
    "netlink": _STACK,
    "tls": ["libraries/openssl.c", "libraries/openssl_lend.c"],
}
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


class Failed(Exception):
    """A tool or source is missing, or does not compile."""


def run(command: list[str], **options: object) -> int:
    """Run a command; return its exit status.

    :raises Failed: the command could not be started.
    """
    try:
        return subprocess.run(command, env=ENVIRONMENT, check=False, **options).returncode  # type: ignore[call-overload]
    except OSError as error:
        raise Failed(f"{shlex.join(command)}: {error}") from error


def build(compiler: list[str], sanitizers: str, sources: list[Path], program: Path) -> bool:
    """Compile two files at a time; return False after the compiler's error was printed."""
    command = [*compiler, *FLAGS, f"-fsanitize={sanitizers}", "-I", str(NATIVE / "include"), "-I", str(NATIVE)]
    folder = program.with_suffix(".objects")
    folder.mkdir()

    def compile_one(number: int, source: Path) -> bool:
        return run([*command, "-c", str(source), "-o", str(folder / f"{number}.o")]) == 0

    with ThreadPoolExecutor(2) as pool:
        if not all(pool.map(compile_one, range(len(sources)), sources)):
            return False
    objects = [str(folder / f"{number}.o") for number in range(len(sources))]
    return run([*command, *objects, "-lm", "-ldl", "-o", str(program)]) == 0


def core_sources(target: str) -> list[Path]:
    """Return the sources of the C core that a target runs."""
    return [path for pattern in TARGETS[target] for path in sorted(NATIVE.glob(pattern))]


def has_libfuzzer(clang: str, scratch: Path) -> bool:
    """Return whether clang links libFuzzer. Debian's clang lacks its run-time libraries unless they are installed
    separately."""
    source = scratch / "empty.c"
    source.write_text("int LLVMFuzzerTestOneInput(const char *d, long n) { return d == 0 && n < 0; }\n")
    command = [clang, f"-fsanitize=fuzzer,{SANITIZERS}", str(source), "-o", str(scratch / "empty")]
    return run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def choose_engine(wanted: str, scratch: Path) -> tuple[str, list[str]]:
    """Return the engine's name and its compiler."""
    clang = shutil.which(os.environ.get("CLANG", "clang"))
    if wanted != "mutation" and clang and has_libfuzzer(clang, scratch):
        return "libfuzzer", [clang]
    if wanted == "libfuzzer":
        raise Failed("--engine libfuzzer needs a clang with libFuzzer; install clang, or name it in CLANG")
    return "mutation", shlex.split(os.environ.get("CC", "cc"))


def write_seeds(compiler: list[str], target: str, scratch: Path) -> Path:
    """Return the folder of the seeds: frames that the emitters make, and states of a connection."""
    program, corpus = scratch / "seeds", scratch / "corpus"
    corpus.mkdir()
    sources = [HERE / f"seeds_{target}.c", *core_sources("wire")]
    if not build(compiler, SANITIZERS, sources, program) or run([str(program), str(corpus)]):
        raise Failed("the seeds could not be made")
    return corpus


def command_line(engine: str, program: Path, options: argparse.Namespace, corpus: Path, failures: Path) -> list[str]:
    """Return the command that runs the fuzzer for the given time and seed."""
    if engine == "mutation":
        return [str(program), str(options.seconds), str(options.seed), str(corpus), f"{failures}/failure"]
    limits = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-max_len=4096", "-timeout=5"]
    if options.input:
        return [str(program), str(options.input)]
    return [str(program), *limits, f"-artifact_prefix={failures}/", str(corpus)]


def fuzz(target: str, options: argparse.Namespace, scratch: Path) -> int:
    """Build, run, and print the findings."""
    engine, compiler = choose_engine(options.engine, scratch)
    program = scratch / "fuzz"
    sources = [HERE / f"fuzz_{target}.c", *core_sources(target)] + [HERE / "mutate.c"] * (engine == "mutation")
    sanitizers = f"fuzzer,{SANITIZERS}" if engine == "libfuzzer" else SANITIZERS
    print(f"{target}: {engine}, {' '.join(compiler)}, {options.seconds} s, seed {options.seed}", flush=True)
    if not build(compiler, sanitizers, sources, program):
        raise Failed("the fuzzer does not compile")
    corpus = write_seeds(compiler, target, scratch)
    if options.input and engine == "mutation":  # it runs all seeds first, so make the input the only seed
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
        print(f"{target}: failed (status {status}); the input is in {failures}", file=sys.stderr)
        return 1
    if not any(failures.iterdir()):
        failures.rmdir()
    print(f"{target}: nothing found")
    return 0


def main() -> int:
    """Read the command line, and run the fuzzers in a temporary folder."""
    parser = argparse.ArgumentParser(description="Fuzz the code that reads frames and ciphertext.")
    parser.add_argument("--target", choices=[*TARGETS], help="run only this target (all)")
    parser.add_argument("--seconds", type=int, default=10, help="time for each target (10)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers (1)")
    parser.add_argument("--engine", choices=["auto", "libfuzzer", "mutation"], default="auto")
    parser.add_argument("--input", type=Path, help="run only this input, once")
    parser.add_argument("--failures", default="build/fuzz", help="folder for inputs that fail (build/fuzz)")
    options = parser.parse_args()
    if options.input and not options.target:
        parser.error("--input needs --target")
    status = 0
    for target in [options.target] if options.target else TARGETS:
        with tempfile.TemporaryDirectory(prefix="sfloop-fuzz-") as scratch:
            try:
                status = max(status, fuzz(target, options, Path(scratch)))
            except Failed as error:
                print(f"fuzz: {error}", file=sys.stderr)
                return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
