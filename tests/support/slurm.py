"""A Slurm of one node with two pretended GPUs, without an accounting database, for a test; as root.

Its configuration has to lie in /etc/slurm, since the plugin starts its inner `srun` without SLURM_CONF. A machine that
has one there is left alone.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
OURS = "# of Reweigh's tests"
DAEMONS = ("slurmctld", "slurmd")
WITH_US = ("setpriv", "--pdeathsig=KILL")  # if this process is killed, so are they
CONF = """{ours}
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={munge}/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
GresTypes=gpu
MpiDefault=none
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:fake:2
PartitionName=main Nodes={host} Default=YES DefaultTime=10 MaxTime=60
"""
# Files of GPUs must be device nodes, or Slurm sets no CUDA_VISIBLE_DEVICES.
GRES = f"{OURS}\nName=gpu Type=fake File=/dev/null\nName=gpu Type=fake File=/dev/zero\n"


def can_start():
    """Whether a Slurm can be started here: as root, with its programs, and no cluster's configuration in the place."""
    there = all(shutil.which(name, path=_path()) for name in (*DAEMONS, "munged", "squeue", "srun", "setpriv"))
    conf = ETC / FILES[0]
    return there and os.geteuid() == 0 and (not conf.exists() or conf.read_text().startswith(OURS))


@contextlib.contextmanager
def running():
    """A Slurm with a folder of its own; whatever happens, it ends with this context, and so do its jobs."""
    with open(Path(tempfile.gettempdir()) / "reweigh-slurm.lock", "w") as lock:  # its ports and files are the machine's
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _running()


def _running():
    host, folder = socket.gethostname().split(".")[0], Path(tempfile.mkdtemp(prefix="reweigh-slurm-"))
    folder.chmod(0o755)  # munged runs as a user of its own
    munge = folder / "munge"
    for made in (folder / "ctld", folder / "slurmd", munge):
        made.mkdir(parents=True)
    files = (CONF.format(ours=OURS, host=host, folder=folder, munge=munge), GRES, f"{OURS}\nCgroupPlugin=cgroup/v1\n")
    started = []
    try:
        for name, text in zip(FILES, files, strict=True):
            (ETC / name).write_text(text)
        started.append(_munged(munge))
        for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            log = (folder / f"{command[0]}.out").open("w")
            started.append(subprocess.Popen([*WITH_US, *command], stdout=log, stderr=log, env=_environment()))
        _wait_until(lambda: ask("sinfo", "--noheader", "--format", "%T").strip() == "idle", folder)
        yield
    finally:
        jobs = ask("squeue", "--noheader", "--format", "%A").split()
        if jobs:
            ask("scancel", "--signal=KILL", *jobs)
            ask("scancel", *jobs)
            time.sleep(1)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        for name in FILES:
            (ETC / name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def ask(*command):
    """What a command of Slurm printed; nothing if it failed."""
    return subprocess.run(command, capture_output=True, text=True, env=_environment(), timeout=120).stdout


def _munged(folder):
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    for path in (key, folder):
        shutil.chown(path, "munge", "munge")
    names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed", "key-file": "key"}
    options = [f"--{option}={folder / name}" for option, name in names.items()]
    process = subprocess.Popen(
        [*WITH_US, "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--foreground", "--force", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    _wait_until((folder / "socket").exists, folder)
    folder.chmod(0o755)
    return process


def _wait_until(holds, folder):
    end = time.monotonic() + 90
    while not holds():
        logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
        assert time.monotonic() < end, f"Slurm does not start:\n{logs}"
        time.sleep(0.1)


def _path():
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def _environment():
    return {**os.environ, "PATH": _path()}
