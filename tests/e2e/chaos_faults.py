# SPDX-License-Identifier: Apache-2.0
"""
The faults of a storm: what each does to a gateway (`scene` is chaos.py's), how long it is given to
recover, and what it may cost. `chance` is a number from 0 up to 1 that was drawn with the sequence:
which process, how long a cut lasts.
"""

import os
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from harness import eventually
from storm import listed, planes, processes


@dataclass
class Fault:
    about: str
    do: Callable  # (scene, chance) -> the ports whose connections may be lost
    weight: int = 1  # how often, compared with the others
    works: Callable = field(default=lambda scene: True)  # whether this gateway knows it


def catches(pid, number):
    """Whether a process waits for a signal, by a handler or by a descriptor."""
    masks = re.findall(r"^Sig(?:Cgt|Blk):\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def active(gateway):
    return [dp_id for dp_id, state in planes(gateway).items() if state == "ACTIVE"]


# ---- what must cost nothing ----


def reload(scene, chance):
    """SIGHUP: the configuration, and a new data plane for new tunnels."""
    (old,) = eventually(lambda: active(scene.gateway), what="a data plane is ACTIVE")
    scene.gateway.send(signal.SIGHUP)
    eventually(lambda: active(scene.gateway) not in ([], [old]), what="the next data plane is ACTIVE")
    return set()


def kill_in_reload(scene, chance):
    """The control plane dies while data planes change."""
    scene.gateway.send(signal.SIGHUP)
    time.sleep(chance * 0.15)
    scene.gateway.kill()
    scene.start_control_plane()
    eventually(lambda: len(active(scene.gateway)) == 1, what="one data plane is ACTIVE")
    return set()


def kill_successor(scene, chance):
    """The new data plane dies while it starts, or as soon as it serves. No tunnel is in it yet."""
    before = set(processes(scene.gateway, "data-plane"))
    scene.gateway.send(signal.SIGHUP)
    (new,) = eventually(lambda: set(processes(scene.gateway, "data-plane")) - before, what="a new one starts")
    time.sleep(chance * 0.08)
    os.kill(new, signal.SIGKILL)
    eventually(lambda: new not in processes(scene.gateway, "data-plane"), what="it has ended")
    eventually(lambda: len(active(scene.gateway)) == 1, what="one data plane is ACTIVE")
    return set()


def kill_control_plane(scene, chance):
    scene.gateway.kill()
    time.sleep(chance / 2)
    scene.start_control_plane()
    return set()


def kill_starting(scene, chance):
    """It is killed again while it starts and takes over."""
    scene.gateway.kill()
    scene.start_control_plane()
    time.sleep(chance * 0.4)
    scene.gateway.kill()
    scene.start_control_plane()
    return set()


def restart_control_plane(scene, chance):
    """SIGUSR2: it executes itself anew."""
    scene.gateway.send(signal.SIGUSR2)
    time.sleep(chance / 5)
    return set()


def cut_interface(scene, chance):
    """The gateway's interface towards its clients is down for a while."""
    scene.gateway.host.run("ip", "link", "set", "clients", "down")
    time.sleep(0.3 + chance)
    scene.gateway.host.run("ip", "link", "set", "clients", "up")
    return set()


def drop_all(scene, chance):
    """The clients' host, or the users', gets no packet for a while."""
    host = scene.inside if chance < 0.5 else scene.outside
    host.run("nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }")
    time.sleep(0.3 + chance)
    host.run("nft", "delete table inet cut")
    return set()


def upgrade(scene, chance):
    """New files of all programs; the control plane becomes the new one, then a new data plane comes."""
    for name in scene.programs:
        scene.install(name)
    restart_control_plane(scene, chance)
    eventually(lambda: not os.readlink(f"/proc/{scene.gateway.pid}/exe").endswith(" (deleted)"),
               what="the control plane runs the new program")  # fmt: skip
    eventually(scene.gateway.healthy, what="it has taken over")
    return reload(scene, chance)


def break_program(scene, chance):
    """The data plane's program ends at once, or does nothing: a reload must change nothing."""
    (old,) = eventually(lambda: active(scene.gateway), what="a data plane is ACTIVE")
    failed = scene.gateway.metric("quicport_handovers_total")
    scene.install("quicport-data-plane", "#!/bin/sh\nexit 3\n" if chance < 0.8 else "no program\n")
    scene.gateway.send(signal.SIGHUP)
    eventually(lambda: scene.gateway.metric("quicport_handovers_total") > failed, what="the reload has failed")
    scene.install("quicport-data-plane")
    assert active(scene.gateway) == [old]
    return set()


# ---- what costs the connections that it hits, and no others ----


def pick(scene, chance):
    """One of the data planes that live: its process id, and the ports of its tunnels."""
    rows = eventually(lambda: listed(scene.gateway, "ListDataPlanes", "data_planes"), what="data planes")
    row = sorted(rows, key=lambda row: row["dp_id"])[int(chance * len(rows))]
    tunnels = listed(scene.gateway, "ListTunnels", "tunnels")
    return row["pid"], {entry["port"] for tunnel in tunnels if tunnel["dp_id"] == row["dp_id"]
                        for entry in tunnel["ports"]}  # fmt: skip


def kill_data_plane(scene, chance):
    pid, ports = pick(scene, chance)
    os.kill(pid, signal.SIGKILL)
    return ports


def stop_data_plane(scene, chance):
    """It hangs: the gateway has to notice by itself."""
    pid, ports = pick(scene, chance)
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: pid not in processes(scene.gateway, "data-plane"), what="the hanging one is ended")
    return ports


def kill_client(scene, chance):
    port = scene.ports[int(chance * len(scene.ports))]
    scene.clients[port].kill()
    scene.start_client(port)
    return {port}


def replace_port_owner(scene, chance):
    """All starts anew, after the port owner was killed or not. It costs every tunnel."""
    if chance < 0.5:
        (owner,) = processes(scene.gateway, "port-owner")
        os.kill(owner, signal.SIGKILL)
        eventually(lambda: not processes(scene.gateway, "port-owner"), what="the port owner is gone")
    before = processes(scene.gateway, "data-plane")
    assert scene.gateway.call("ReplacePortOwner")[0] == 200
    eventually(lambda: not set(before) & set(processes(scene.gateway, "data-plane")), what="all have ended")
    return set(scene.ports)


FAULTS = {
    "reload": Fault("hand-over to a new data plane", reload, 3),
    "kill-in-reload": Fault("SIGKILL of the control plane while data planes change", kill_in_reload),
    "kill-successor": Fault("SIGKILL of the new data plane while it starts", kill_successor),
    "kill-control-plane": Fault("SIGKILL of the control plane", kill_control_plane, 3),
    "kill-starting": Fault("SIGKILL of a control plane that starts", kill_starting),
    "restart-control-plane": Fault("SIGUSR2 to the control plane", restart_control_plane, 2,
                                   lambda scene: catches(scene.gateway.pid, signal.SIGUSR2)),
    "upgrade": Fault("all programs are new files, SIGUSR2, then a reload", upgrade, 1,
                     lambda scene: catches(scene.gateway.pid, signal.SIGUSR2)),
    "break-program": Fault("a reload to a program that cannot run", break_program),
    "cut-interface": Fault("the gateway's interface goes down and up", cut_interface),
    "drop-all": Fault("clients or users get no packet for a while", drop_all),
    "kill-data-plane": Fault("SIGKILL of a data plane", kill_data_plane, 2),
    "stop-data-plane": Fault("SIGSTOP of a data plane: it hangs", stop_data_plane),
    "replace-port-owner": Fault("the port owner is replaced, and everything with it", replace_port_owner),
    "kill-client": Fault("SIGKILL of a client", kill_client),
}  # fmt: skip
