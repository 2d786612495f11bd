"""Where the command begins: a Ctrl-C while Python still loads us simply ends it, for nothing was begun."""

import signal


def main() -> None:
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lookonce.cli.main import main as run  # noqa: PLC0415 - loading is what takes the time

    signal.signal(signal.SIGINT, handler)
    run()
