"""The engine as a real process with a small method in it: events, stopping in every way, whole results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = [sys.executable, str(Path(__file__).with_name("engine_with_fake_method.py"))]
CONTENT = bytes(range(256)) * 40
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an input whose name is not ASCII."""
    (tmp_path / "Müller.nii.gz").write_bytes(CONTENT)
    return tmp_path


def write_job(folder: Path, preset: str = "copy", **options: object) -> Path:
    document = {
        "schema": 1,
        "method": "fake",
        "inputs": {"image": str(folder / "Müller.nii.gz")},
        "outputs": {"image": str(folder / "out.nii.gz"), "uncertainty": str(folder / "sd.nii.gz")},
        "options": {"preset": preset, **options},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def events_of(output: str) -> list[dict]:
    assert output.isascii()
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def run(folder: Path, engine_environment: dict[str, str]):
    """Run a job to its end: the process and its events."""

    def run_job(preset: str = "copy", stdin: int = subprocess.DEVNULL, before=None, **options: object):
        done = subprocess.run(
            [*ENGINE, "run", write_job(folder, preset, **options)],
            capture_output=True,
            text=True,
            stdin=stdin,
            env=engine_environment,
            timeout=60,
            preexec_fn=before,
        )
        return done, events_of(done.stdout)

    return run_job


@pytest.fixture
def slow_job(folder: Path, engine_environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A job in the middle of its work, half of its output written."""
    job = subprocess.Popen(
        [*ENGINE, "run", write_job(folder, "slow")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=engine_environment,
    )
    assert job.stdout is not None
    for line in job.stdout:
        if json.loads(line)["event"] == "progress":
            break
    yield job
    job.kill()
    job.communicate()


def finish(job: subprocess.Popen[str]) -> tuple[int, list[dict]]:
    output, errors = job.communicate(timeout=20)
    assert "Traceback" not in errors
    return job.returncode, events_of(output)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_job_says_its_stages_and_its_result(run, folder: Path) -> None:
    done, events = run()
    assert done.returncode == 0 and done.stderr == ""
    assert [event["event"] for event in events if event["event"] != "progress"] == ["stage", "stage", "stage", "result"]
    result = events[-1]
    assert Path(result["outputs"]["image"]).read_bytes() == CONTENT
    assert Path(result["outputs"]["uncertainty"]).read_bytes() == CONTENT
    assert names_in(folder) == {"Müller.nii.gz", "job.json", "out.nii.gz", "sd.nii.gz", "out.nii.gz.manifest.json"}


def test_the_manifest_says_what_made_the_result_and_nothing_of_the_machine(run, folder: Path) -> None:
    _, events = run()
    text = Path(events[-1]["manifest"]).read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert manifest["inputs"]["image"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert manifest["job"]["inputs"]["image"] == "Müller.nii.gz" and manifest["job"]["seed"] == 0
    assert manifest["versions"]["PETDiffusionLib"] and manifest["versions"]["numpy"]
    assert "Copying" in manifest["timings_s"] and "research use only" in manifest["notice"].lower()
    assert str(folder) not in text and os.uname().nodename not in text


def test_a_warning_has_a_code_and_the_job_goes_on(run) -> None:
    done, events = run("warn")
    assert done.returncode == 0
    assert [event["code"] for event in events if event["event"] == "warning"] == ["voxel-size"]


@pytest.mark.parametrize(
    ("preset", "code", "status"),
    [
        ("bug", "internal", 1),
        ("disk-full", "disk-full", 2),
        ("second-output-fails", "disk-full", 2),
        ("out-of-memory", "out-of-memory", 2),
        ("no-torch", "missing-package", 2),
        ("unheard-of", "bad-job", 2),
    ],
)
def test_a_failure_has_a_code_and_a_sentence_and_leaves_nothing(run, folder, preset, code, status) -> None:
    done, events = run(preset)
    assert done.returncode == status
    assert events[-1]["event"] == "error" and events[-1]["code"] == code
    assert events[-1]["message"].strip() and "\n" not in events[-1]["message"]
    assert names_in(folder) == {"Müller.nii.gz", "job.json"}
    assert "Traceback" not in done.stderr


def test_a_fault_of_the_program_leaves_its_traceback_in_the_log(run) -> None:
    _, events = run("bug")
    assert any(event["event"] == "log" and "KeyError" in event["message"] for event in events)


@posix_only
def test_a_file_size_limit_is_like_a_full_disk(run, folder: Path) -> None:
    import resource

    done, events = run("huge", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    assert done.returncode == 2 and events[-1]["code"] == "disk-full"
    assert names_in(folder) == {"Müller.nii.gz", "job.json"}


def test_closing_its_standard_input_stops_a_job(slow_job, folder: Path) -> None:
    slow_job.stdin.close()
    slow_job.stdin = None
    assert_stopped(slow_job, folder)


def test_the_line_cancel_stops_a_job(slow_job, folder: Path) -> None:
    slow_job.stdin.write("something else\ncancel\n")
    slow_job.stdin.flush()
    assert_stopped(slow_job, folder)


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_job(slow_job, folder: Path, number: signal.Signals) -> None:
    slow_job.send_signal(number)
    assert_stopped(slow_job, folder)


def assert_stopped(job: subprocess.Popen[str], folder: Path) -> None:
    status, events = finish(job)
    assert status == 130 and events[-1] == {"event": "cancelled"}
    assert names_in(folder) == {"Müller.nii.gz", "job.json"}


def test_a_job_whose_reader_has_gone_stops(slow_job, folder: Path) -> None:
    slow_job.stdout.close()
    assert slow_job.wait(timeout=20) == 130
    assert slow_job.stderr.read() == ""
    assert names_in(folder) == {"Müller.nii.gz", "job.json"}


@posix_only
def test_a_killed_job_leaves_no_output_and_the_next_one_clears_up(slow_job, run, folder: Path) -> None:
    slow_job.kill()
    slow_job.wait(timeout=20)
    assert not any(name.startswith(("out", "sd")) for name in names_in(folder))
    done, _ = run()
    assert done.returncode == 0
    assert names_in(folder) == {"Müller.nii.gz", "job.json", "out.nii.gz", "sd.nii.gz", "out.nii.gz.manifest.json"}


def test_an_empty_standard_input_that_is_no_pipe_does_not_stop_a_job(run) -> None:
    done, _ = run(stdin=subprocess.DEVNULL)
    assert done.returncode == 0


def test_an_output_is_not_overwritten_unless_asked(run, folder: Path) -> None:
    (folder / "out.nii.gz").write_bytes(b"precious")
    done, events = run()
    assert done.returncode == 2 and events[-1]["code"] == "exists"
    assert (folder / "out.nii.gz").read_bytes() == b"precious"
    done, _ = run(overwrite=True)
    assert done.returncode == 0 and (folder / "out.nii.gz").read_bytes() == CONTENT


def test_a_failed_overwrite_leaves_the_old_output(run, folder: Path) -> None:
    (folder / "out.nii.gz").write_bytes(b"precious")
    done, _ = run("second-output-fails", overwrite=True)
    assert done.returncode == 2 and (folder / "out.nii.gz").read_bytes() == b"precious"


@pytest.mark.parametrize("same_file", ["Müller.nii.gz", "./Müller.nii.gz", "link.nii.gz"])
def test_an_input_is_never_overwritten(folder: Path, engine_environment, same_file: str) -> None:
    if same_file == "link.nii.gz":
        (folder / same_file).symlink_to(folder / "Müller.nii.gz")
    done = subprocess.run(
        [*ENGINE, "denoise", folder / "Müller.nii.gz", folder / same_file, "--overwrite", "--json"],
        capture_output=True,
        text=True,
        env=engine_environment,
        timeout=60,
    )
    assert done.returncode == 2 and events_of(done.stdout)[-1]["code"] == "overwrites-input"
    assert (folder / "Müller.nii.gz").read_bytes() == CONTENT


def test_a_job_that_cannot_be_read_is_an_error_event(folder: Path, engine_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*ENGINE, "run", folder / "no.json"], capture_output=True, text=True, env=engine_environment, timeout=60
    )
    assert done.returncode == 2 and events_of(done.stdout)[-1]["code"] == "bad-job"


def on_the_command_line(preset: str) -> list[str]:
    """The beginning of a command `petdiffusion denoise ...` in which the fake method does what the preset says."""
    code = "import sys, engine_with_fake_method as engine; engine.use_fake_method(sys.argv.pop(1)); "
    return [sys.executable, "-c", code + "sys.exit(engine.main())", preset, "denoise"]


@posix_only
def test_ctrl_c_on_the_command_line_says_so(folder: Path, engine_environment: dict[str, str]) -> None:
    job = subprocess.Popen(
        [*on_the_command_line("slow"), folder / "Müller.nii.gz", folder / "out.nii.gz"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=engine_environment,
        cwd=Path(__file__).parent,
    )
    assert job.stderr is not None
    while "Copying" not in job.stderr.readline():
        pass
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=20)
    assert job.returncode == 130 and "Stopped; nothing was written." in errors and "Traceback" not in errors
    assert names_in(folder) == {"Müller.nii.gz"}


@posix_only
def test_a_terminal_sees_a_bar_with_the_time_left(folder: Path, engine_environment: dict[str, str]) -> None:
    import fcntl
    import termios

    terminal, side_of_job = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    job = subprocess.Popen(
        [*on_the_command_line("slow"), folder / "Müller.nii.gz", folder / "out.nii.gz"],
        stdout=subprocess.DEVNULL,
        stderr=side_of_job,
        env={**engine_environment, "TERM": "xterm"},
        cwd=Path(__file__).parent,
    )
    os.close(side_of_job)
    seen = b""
    while not re.search(rb"Copying +\d+ % \|.*\d:\d\d left", seen):
        seen += os.read(terminal, 4096)
    job.send_signal(signal.SIGINT)
    assert job.wait(timeout=20) == 130
    os.close(terminal)
