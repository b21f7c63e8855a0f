"""The playground: a page on this machine that shows a network learn, and lets one meddle.

    points.py     what there is to tell apart: points of a plane with their classes
    settings.py   all that the page may choose, checked
    session.py    one page's network as it learns, update by update
    server.py     the page, and a socket for each that is open

A page sends what it wants as JSON; what comes back is drawn by the scripts in `assets/play`. The
network is trained here, by the engine that `gradloom.fit` uses.
"""

from gradloom.view.play.server import Playground, play

__all__ = ["Playground", "play"]
