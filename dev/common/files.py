"""Where things are, and files: to read, to write, to hold while one builds."""

import contextlib
import fcntl
import hashlib
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "out")


def out(*names):
    return os.path.join(OUT, *names)


def tail(path, lines=25):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError:
        return ""


def write(path, text):
    """Writes a file at once or not at all."""
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.replace(path + ".tmp", path)


def read(path, default=""):
    try:
        with open(path) as f:
            return f.read()
    except FileNotFoundError:
        return default


def digest(paths, *texts):
    h = hashlib.sha256()
    for path in paths:
        h.update(path.encode() + b"\0")
        if os.path.exists(path):
            with open(path, "rb") as f:
                h.update(f.read())
    for text in texts:
        h.update(text.encode() + b"\0")
    return h.hexdigest()


@contextlib.contextmanager
def lock(name):
    """Two runs of these scripts must not build in one directory at once."""
    os.makedirs(OUT, exist_ok=True)
    with open(out(".lock-" + name), "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("waiting for another run that is using out/%s" % name,
                  flush=True)
            fcntl.flock(f, fcntl.LOCK_EX)
        yield
