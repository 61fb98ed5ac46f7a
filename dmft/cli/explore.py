"""Play with the model in a browser: settings as sliders, mean-field curves that redraw.

The page is served on this machine only, at an address that nobody else knows; it loads nothing from
elsewhere. Its solves are quick ones, with the error bands they deserve; finite networks are drawn
over them on request, and what is shown can be copied as TOML, Python or a command. Ctrl-C ends."""

from __future__ import annotations

import argparse

from dmft.cli import parser as options

PLACE = 70
SUMMARY = "play with the model in a browser"
EXAMPLES = """\
  dmft explore
  dmft explore config.toml --set problem.loss.kind=huber --open
  dmft explore --port 8765"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument(
        "--port", type=options.integer(0, 65535), default=0, metavar="N",
        help="port to serve on; default any that is free",
    )  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def run(arguments: argparse.Namespace) -> int:
    from dmft.config import load_config

    config = load_config(arguments.config, arguments.overrides)

    import threading

    from dmft.explore.server import ExploreServer
    from dmft.explore.session import Session

    session = Session(config)
    with ExploreServer(session, arguments.port) as server:
        try:
            print(f"the page is at {server.address} (Ctrl-C ends)", flush=True)
            threading.Thread(target=session.warm, daemon=True).start()
            if arguments.open:
                import webbrowser

                webbrowser.open(server.address)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print("ended")
        finally:
            session.close()
    return 0
