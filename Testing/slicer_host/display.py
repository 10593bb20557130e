"""Where windows appear: the display there is, else a virtual one (Xvfb), else Qt's offscreen platform."""

import atexit
import ctypes.util
import os
import shutil
import subprocess


def ensureDisplay() -> None:
    """Choose before the first QApplication; an Xvfb that was started ends with this process."""
    if os.environ.get("DISPLAY") or os.environ.get("QT_QPA_PLATFORM"):
        return
    libraries = ("xcb-icccm", "xcb-keysyms", "xcb-cursor")
    if not shutil.which("Xvfb") or not all(map(ctypes.util.find_library, libraries)):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        return
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1200x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(server.terminate)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        os.environ["DISPLAY"] = ":" + pipe.readline().strip()
