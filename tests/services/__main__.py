"""`python -m tests.services install`: fetch what the tests' real services need, where this machine allows it.

Never fatal: a service that cannot be had makes its tests skip, or fail where the environment says that it must be
there (VIDFACE_REQUIRE_RTSP=1 and the like).
"""

import importlib
import importlib.util
import sys

SERVICES = ("rtsp", "kafka", "mqtt", "weights", "browser", "dali", "asyncapi")


def main(arguments: list[str]) -> int:
    if arguments != ["install"]:
        sys.stderr.write("usage: python -m tests.services install\n")
        return 2
    for name in SERVICES:
        sys.stdout.write(f"{name}: {_installed(name)}\n")
    return 0


def _installed(name: str) -> str:
    """Install one service and say in a line what came of it."""
    if importlib.util.find_spec(f"tests.services.{name}") is None:
        return "nothing to do, there is no such service"
    service = importlib.import_module(f"tests.services.{name}")
    install = getattr(service, "install", None)
    missing = getattr(service, "missing", None)
    if install is None:
        return "nothing to install, its tests fetch what they need"
    try:
        if missing is not None and missing() is None:
            return "already there"
        install()
        reason = missing() if missing is not None else None
    except Exception as error:
        # One service's trouble, whatever it is, must not keep the others away.
        return f"could not be installed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "installed" if reason is None else f"not installed: {reason}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
