# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Bare ZeroMQ: a request socket for each worker, all asked before any answer is read; events by push and pull. What one
would write by hand, with nothing around it: no group of workers, no errors, no restarts."""

import subprocess
import sys
import tempfile

import zmq

from driver import EVENT, Peer, serve


def work(path):
    """A worker: an empty answer to every request; one that names a number of events has these pushed first."""
    context = zmq.Context()
    requests, events = context.socket(zmq.REP), context.socket(zmq.PUSH)
    requests.bind("ipc://%s.call" % path)
    events.bind("ipc://%s.events" % path)
    while True:
        request = requests.recv()
        requests.send(b"")
        if request.startswith(b"burst"):
            for _ in range(int(request.split()[1])):
                events.send(EVENT)


class ZeroMQ(Peer):
    name = "ZeroMQ %s request-reply (pyzmq %s)" % (zmq.zmq_version(), zmq.pyzmq_version())

    def __init__(self):
        self.context = zmq.Context()
        self.folder = tempfile.TemporaryDirectory(prefix="zmq-", dir=".")
        self.workers, self.sockets = [], []

    def connect(self, kind, path):
        socket = self.context.socket(kind)
        socket.connect("ipc://" + path)
        return socket

    def start(self, workers):
        for i in range(workers):
            path = "%s/%d" % (self.folder.name, i)
            self.workers.append(subprocess.Popen([sys.executable, __file__, path], stdin=subprocess.DEVNULL))
            self.sockets.append(self.connect(zmq.REQ, path + ".call"))
        self.events = self.connect(zmq.PULL, "%s/0.events" % self.folder.name)

    def call(self, payload):
        for socket in self.sockets:
            socket.send(payload)
        for socket in self.sockets:
            socket.recv()

    def burst(self, events):
        self.sockets[0].send(b"burst %d" % events)
        self.sockets[0].recv()
        for _ in range(events):
            yield self.events.recv()

    def stop(self):
        self.context.destroy(linger=0)
        for worker in self.workers:
            worker.terminate()
            worker.wait()
        self.folder.cleanup()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1])
    else:
        serve(ZeroMQ())
