"""The words that the programs here speak with `cargo xtask sdk`; `xtask/src/sdk/conversation.rs` describes them."""

import os
import sys

sys.stdout.reconfigure(encoding="utf-8")
sys.stdin.reconfigure(encoding="utf-8")


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def hear():
    line = sys.stdin.readline()
    if not line:
        # Whoever drives us is gone.
        os._exit(1)
    return line.strip()


def ask(*words):
    say("ask", *words)
    return hear()


def expect(condition, reason):
    if not condition:
        raise AssertionError(reason)


def step(name, body):
    """Runs `body` and reports it; what it returns is a time in milliseconds or nothing."""
    try:
        ms = body()
    except Exception as error:
        say("step", name, "FAILED", f"{type(error).__name__}: {error}".replace("\n", " "))
    else:
        say("step", name, "ok", *([] if ms is None else [ms]))
