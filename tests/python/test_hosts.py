# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Ranks on hosts that are named."""

import os
import subprocess
import sys
import tempfile

import pytest
from workers import General

from rankcall import DistributedRunner, RankDiedError, _launch

REST = {
    "socket": None,
    "setup": None,
    "timeout": 60,
    "restarts": None,
    "grace": None,
    "payload_cap": "1G",
    "run_args": [],
}


@pytest.mark.parametrize(
    "hosts, ranks, text",
    [
        (["a", "b"], 4, "a:2,b:2"),
        (["a", "b"], 3, "a:2,b:2"),
        (["a:3", "b:1"], 4, "a:3,b:1"),
        (["a"], 1, "a:1"),
    ],
)
@pytest.mark.parametrize("command", ["/usr/bin/rankcall", None])
def test_hosts_are_mpiruns(hosts, ranks, text, command, monkeypatch, tmp_path):
    monkeypatch.setenv("RANKCALL_MPIRUN", "/usr/bin/mpirun")
    monkeypatch.setenv("RANKCALL_RUNTIME_DIR", str(tmp_path))
    line = _launch.launch_line(
        command=command, ranks=ranks, name="job", program=["x"], hosts=hosts, launcher_args=["-q"], variables=["A", "B"], **REST
    )
    wanted = ["-q", "--host", text, "-x", "A", "-x", "B"]
    found = [line[at + 1] for at, word in enumerate(line) if word == "--launcher-arg"]
    if command is None:
        found = line[line.index("-q") : line.index("-q") + len(wanted)]
    assert found == wanted and "x" in line


def test_without_hosts_mpirun_chooses():
    line = _launch.launch_line(
        command="rankcall", ranks=2, name="job", program=["x"], hosts=None, launcher_args=[], variables=["A"], **REST
    )
    assert "--host" not in line and "-x" not in line


@pytest.mark.parametrize("hosts", [["localhost"], ["localhost:3"]])
async def test_ranks_run_on_the_host(hosts):
    runner = DistributedRunner(General, 3, hosts=hosts, env={"RANKCALL_OF_THE_TEST": "1"})
    await runner.start(base=5)
    assert (await runner.invoke({"do": "about"}))["base"] == 5
    assert {rank["host"] for rank in (await runner.status())["ranks"]} == {os.uname().nodename}
    await runner.stop()


def can_hide():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not can_hide(), reason="a rank with a file system of its own needs unshare(1) and root")
async def test_a_host_that_lacks_the_clients_files_gets_them(tmp_path, monkeypatch):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(hidden))
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'if [ "${OMPI_COMM_WORLD_RANK}" != 0 ] || [ -n "${OMPI_MCA_orte_parent_uri}${OMPI_MCA_dpm_base_spawned}" ]; then\n'
        '    exec unshare -m sh -c \'mount -t tmpfs none "$0" && exec "$@"\' %s %s "$@"\n'
        'fi\nexec %s "$@"\n' % (hidden, sys.executable, sys.executable)
    )
    python.chmod(0o755)

    class Local(General):
        def files(self, streaming):
            import os

            here = [name for name in os.listdir(own_path) if name.startswith("rankcall-")]
            return self.gather([os.path.exists(hidden_path), here, self.base])

    hidden_path, own_path = str(hidden / "marker"), str(tmp_path / "own")
    (hidden / "marker").write_text("")
    (tmp_path / "own").mkdir()
    runner = DistributedRunner(Local, 2, python=str(python), env={"TMPDIR": own_path})
    await runner.start(base=b"x" * 100000)
    assert await runner.invoke({"do": "files"}) == [[True, [], b"x" * 100000], [False, [], b"x" * 100000]]
    with pytest.raises(RankDiedError):
        await runner.invoke({"do": "die", "rank": 1})
    assert [base for _, _, base in await runner.invoke({"do": "files"})] == [b"x" * 100000] * 2
    await runner.stop()
    assert sorted(os.listdir(hidden)) == ["marker"]
