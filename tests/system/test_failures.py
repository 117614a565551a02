"""Every failure has a sentence, a remedy and an exit code."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_graphflow.errors import UserError
from napari_graphflow.system.failures import EXIT_CODES, explain, explain_exit, in_words


def raised(action: object) -> BaseException:
    """Return the exception that a piece of Python raises."""
    try:
        exec(str(action), {"np": np, "os": os})
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class OutOfMemoryError(RuntimeError):
    """Named like the exception of torch for GPU memory."""


EXCEPTIONS = {
    "numpy allocation": (raised("np.empty(10**14)"), "out_of_memory"),
    "torch allocation": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        "out_of_memory",
    ),
    "oneDNN allocation": (RuntimeError("could not create a primitive"), "out_of_memory"),
    "killed data loader": (
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
        "out_of_memory",
    ),
    "GPU memory": (OutOfMemoryError("Out of memory: 20.00 MiB."), "out_of_gpu_memory"),
    "GPU memory in cuBLAS": (
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        "out_of_gpu_memory",
    ),
    "GPU": (RuntimeError("CUDA error: device-side assert triggered"), "gpu"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
    "a file larger than the disk allows": (OSError(errno.EFBIG, "File too large"), "disk_full"),
    "disk, reported by Rust": (RuntimeError("I/O error: ... (os error 28)"), "disk_full"),
    "NaN": (FloatingPointError("The loss became NaN at step 7."), "not_a_number"),
    "missing": (raised("open('/nowhere/case_1.nii.gz')"), "missing_file"),
    "denied": (PermissionError(errno.EACCES, "Permission denied", "/data/a"), "no_permission"),
    "network drive": (OSError(errno.ESTALE, "Stale file handle", "/mnt/a"), "drive_gone"),
    "no PyTorch": (ModuleNotFoundError("No module named 'torch'", name="torch"), "not_installed"),
    "user": (UserError("The mask is empty.", "Paint something."), "user"),
    "anything": (ZeroDivisionError("division by zero"), "unexpected"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "code"), EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_an_exception_gets_code_sentence_and_remedy(error: BaseException, code: str) -> None:
    failure = explain(error, Path("log.txt"))
    assert (failure.code, failure.exit_code) == (code, EXIT_CODES[code])
    assert failure.text.endswith(".")
    assert failure.text.count("\n") == failure.remedy.count("\n") == 0
    assert failure.remedy


def test_a_failure_names_the_missing_file_or_the_log() -> None:
    assert "/nowhere/case_1.nii.gz" in explain(raised("open('/nowhere/case_1.nii.gz')")).text
    assert "log.txt" in explain(ValueError("what"), Path("log.txt")).remedy


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_full_disk_is_recognised_when_writing_a_file() -> None:
    write = "with open('/dev/full', 'wb', 0) as file: file.write(b'x')"
    assert explain(raised(write)).code == "disk_full"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_full_disk_is_recognised_when_writing_an_array() -> None:
    error = raised("np.zeros(1000).tofile('/dev/full')")
    assert isinstance(error, OSError)
    assert error.errno is None
    assert explain(error).code == "disk_full"


def test_the_first_cause_is_reported() -> None:
    cleanup_failed_too = raised(
        "try:\n"
        "    raise OSError(28, 'No space left on device')\n"
        "finally:\n"
        "    os.unlink('/nowhere/aside')\n"
    )
    assert explain(cleanup_failed_too).code == "disk_full"
    wrapped = raised(
        "try:\n    {}['a']\nexcept KeyError as e:\n    raise RuntimeError('it failed') from e"
    )
    assert "KeyError: 'a'" in explain(wrapped).text


def test_a_handled_exception_is_not_a_cause() -> None:
    fallback = raised("try:\n    {}['a']\nexcept KeyError:\n    1 / 0")
    assert "ZeroDivisionError" in explain(fallback).text
    hidden = raised(
        "try:\n    open('/nowhere')\nexcept OSError:\n    raise ValueError('x') from None"
    )
    assert explain(hidden).code == "unexpected"


def test_members_of_exception_groups_are_recognised() -> None:
    group = ExceptionGroup("several", [ValueError("x"), MemoryError()])
    assert explain(group).code == "out_of_memory"


@pytest.mark.parametrize(
    ("returncode", "code", "words"),
    [
        (-9, "killed", "memory ran out"),
        (137, "killed", "memory ran out"),
        (-11, "crashed", "SIGSEGV"),
        (0xC0000005, "crashed", "0xC0000005"),
        (-15, "ended", "shut down"),
        (1, "ended", "exit code 1"),
        (None, "ended", "left no error message"),
    ],
)
def test_a_return_code_gets_code_sentence_and_remedy(
    returncode: int | None, code: str, words: str
) -> None:
    failure = explain_exit(returncode, Path("log.txt"))
    assert failure.code == code
    assert words in failure.text
    assert failure.remedy
    assert failure.exit_code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [9, 11, 6])
def test_the_return_code_of_a_killed_process_is_recognised(number: int) -> None:
    kill = f"import os; os.kill(os.getpid(), {number})"
    ended = subprocess.run([sys.executable, "-c", kill], check=False, stderr=subprocess.DEVNULL)
    assert explain_exit(ended.returncode).code == ("killed" if number == 9 else "crashed")


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (
            "Fatal Python error: Segmentation fault\n\nThread 0x1:\n  File\n",
            "SIGSEGV",
        ),
        ("Fatal Python error: Aborted\n", "SIGABRT"),
        ("Windows fatal exception: access violation\r\n\r\n", "0xC0000005"),
        ("Fatal Python error: init_sys_streams: no memory\n", "init_sys_streams: no memory"),
    ],
)
def test_a_crash_is_found_in_the_log(tmp_path: Path, output: str, name: str) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"step 1\n" * 100_000 + output.encode())
    failure = explain_exit(None, log)
    assert failure.code == "crashed"
    assert failure.text == f"The job crashed inside a native library ({name})."
    assert explain_exit(None, log, log_from=log.stat().st_size).code == "ended"
    assert explain_exit(1, log).code == "ended"
    # Windows continues after most of these.
    log.write_text("Windows fatal exception: code 0xe06d7363\n")
    assert explain_exit(None, log).code == "ended"
    assert explain_exit(None, tmp_path / "none").code == "ended"


def test_an_os_error_becomes_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"), in_words():
        (tmp_path / "no" / "such").write_text("x")
