"""The load programs: `python -m bench.load endpoint | client | pace | relay`.

They are C-level epoll loops, so that what is measured is the proxy between them. Client and endpoint are
level-triggered on purpose: with messages shorter than a buffer that is one recv and one send per event,
no EAGAIN. Their answers are lines of JSON on stdout.
"""

from bench.build import BUILT

__path__.append(str(BUILT))
