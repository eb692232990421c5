"""Run `wstest` on the loopback interface only. For CPython 2.7: it listens on every interface whatever its spec says."""

from autobahntestsuite import wstest  # first: it installs the reactor
from twisted.internet import reactor

listen = reactor.listenTCP


def listen_on_loopback(port, factory, backlog=50, interface=""):
    return listen(port, factory, backlog, "127.0.0.1")


reactor.listenTCP = listen_on_loopback
wstest.run()
