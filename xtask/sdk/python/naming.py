"""The full round of service discovery through nacos-sdk-python, driven by `cargo xtask sdk naming`.

Arguments: address (host:port), `round` or `victim` (who only registers, beats and is killed), seed.
The questions are described in `xtask/src/sdk/naming/questions.rs`, the steps in `xtask/src/sdk/naming/steps.rs`.
"""

import json
import os
import queue
import socket
import sys
import time

import nacos
from nacos.client import VERSION
from nacos.listener import SubscribeListener

from speech import ask, expect, hear, say, step

ADDRESS, ROUND, SEED = sys.argv[1:4]
GROUP = "DEFAULT_GROUP"
OTHER_GROUP = "SDK_GROUP"
NAMESPACE = f"sdk-python-{SEED}"
SOON_S = 3
GONE_S = 60
BEAT_S = 5
# Nothing is pushed to this client: it asks again and again, here this often.
ASKS_EVERY_S = 0.25
METADATA = {"区域": "华东一区", "note": "a=1&b 中文，标点 + %20"}
MUCH = {"much": "很多" * 400}


def service(what):
    """The service for one purpose; nothing else in this round or another run uses it."""
    return f"sdk.python.{SEED}.{what}"


def address(number):
    return f"127.0.1.{number}", 8000 + number


def line(metadata, cluster="DEFAULT", weight="1", health="healthy", kind="ephemeral"):
    """An instance as xtask words it."""
    text = json.dumps(dict(sorted(metadata.items())), ensure_ascii=False, separators=(",", ":"))
    return f"{cluster} {weight} {health} {kind} {text}"


def shown(what, number, group=GROUP, namespace="-"):
    """An instance as plain HTTP shows it."""
    return ask("instance", namespace, group, service(what), *address(number))


def soon(read, wanted, within_s=SOON_S):
    """Reads until it is as wanted, for Nacos promises it soon; gives the milliseconds that it took."""
    begun = time.monotonic()
    while True:
        seen = read()
        ms = round((time.monotonic() - begun) * 1000)
        if seen == wanted:
            return ms
        expect(ms < within_s * 1000, f"{seen!r} instead of {wanted!r} for {ms} ms")
        time.sleep(0.02)


class Client:
    def __init__(self, namespace=""):
        self.sdk = nacos.NacosClient(ADDRESS, namespace=namespace, logDir=os.path.join(os.getcwd(), "logs"))

    def register(self, what, number, metadata, group=GROUP, cluster="DEFAULT", **more):
        ip, port = address(number)
        done = self.sdk.add_naming_instance(
            service(what), ip, port, cluster, metadata=metadata, group_name=group, heartbeat_interval=BEAT_S, **more
        )
        expect(done, "register did not answer true")

    def deregister(self, what, number, **more):
        expect(self.sdk.remove_naming_instance(service(what), *address(number), **more), "it did not answer true")

    def hosts(self, what, group=GROUP, **more):
        return self.sdk.list_naming_instance(service(what), group_name=group, **more)["hosts"]

    def numbers(self, what, **more):
        """The last parts of the listed addresses."""
        return sorted(int(host["ip"].rsplit(".", 1)[1]) for host in self.hosts(what, **more))

    def host(self, what, number):
        return next((host for host in self.hosts(what) if host["ip"] == address(number)[0]), None)


class Listener:
    """All that a subscriber is told, in order."""

    def __init__(self, sdk, what):
        self.told = queue.Queue()

        def told(event, local):
            self.told.put((time.monotonic(), event, local.instance))

        listener = SubscribeListener(fn=told, listener_name=f"listener-{what}")
        sdk.subscribe(listener, ASKS_EVERY_S, service(what))

    def expect(self, wanted, number, since, is_so=lambda host: True):
        """Waits until told of the instance, and that it is so; gives the milliseconds since `since`."""
        heard = []
        while time.monotonic() < since + SOON_S:
            try:
                at, event, host = self.told.get(timeout=SOON_S)
            except queue.Empty:
                break
            heard.append((event, host["ip"]))
            if event == wanted and host["ip"] == address(number)[0] and is_so(host):
                return max(0, round((at - since) * 1000))
        raise AssertionError(f"not told that {address(number)} was {wanted}, but {heard}")


def victim():
    Client().register("kept", 99, METADATA)
    say("registered", "-", GROUP, service("kept"), *address(99))
    hear()


def main():
    say("client", VERSION)
    client = Client()
    spaced = Client(NAMESPACE)
    listener = None
    # Something that a persistent instance's health check can connect to.
    lasting = socket.create_server((address(7)[0], 0))
    lasting_address = lasting.getsockname()

    def register():
        client.register("kept", 1, METADATA)
        client.register("plain", 1, {})
        client.register("plain", 2, METADATA, weight=1.5)
        soon(lambda: shown("kept", 1), line(METADATA))
        soon(lambda: shown("plain", 1), line({}))
        soon(lambda: shown("plain", 2), line(METADATA, weight="1.5"))

    step("register", register)

    def query():
        seen = client.host("plain", 2)
        seen = seen and {name: seen[name] for name in ("port", "weight", "healthy", "ephemeral", "enabled", "metadata")}
        wanted = {
            "port": address(2)[1],
            "weight": 1.5,
            "healthy": True,
            "ephemeral": True,
            "enabled": True,
            "metadata": METADATA,
        }
        expect(seen == wanted, f"{seen} instead of {wanted}")

    step("query", query)

    def query_cluster():
        client.register("plain", 3, METADATA, cluster="east")
        soon(lambda: client.numbers("plain"), [1, 2, 3])
        soon(lambda: client.numbers("plain", clusters="east"), [3])
        soon(lambda: client.numbers("plain", clusters="DEFAULT"), [1, 2])

    step("query-cluster", query_cluster)

    def query_healthy():
        done = ask("register", "-", GROUP, service("plain"), *address(4), "healthy=false")
        expect(done == "ok", done)
        soon(lambda: shown("plain", 4), line({}, health="unhealthy"))
        soon(lambda: client.numbers("plain"), [1, 2, 3, 4])
        soon(lambda: client.numbers("plain", healthy_only=True), [1, 2, 3])

    step("query-healthy", query_healthy)

    def no_cluster():
        client.register("unclustered", 9, METADATA, cluster=None)
        client.sdk.send_heartbeat(service("unclustered"), *address(9), metadata=METADATA)
        seen = [host["ip"] for host in client.hosts("unclustered")]
        expect(seen == [address(9)[0]], f"listed are {seen}")

    step("no-cluster", no_cluster)

    def told_of_instance():
        nonlocal listener
        listener = Listener(client.sdk, "plain")
        begun = time.monotonic()
        done = ask("register", "-", GROUP, service("plain"), *address(5))
        expect(done == "ok", done)
        return listener.expect("ADDED", 5, begun)

    step("told-of-instance", told_of_instance)

    def told_of_much():
        begun = time.monotonic()
        much = "metadata=" + json.dumps(MUCH, ensure_ascii=False, separators=(",", ":"))
        done = ask("register", "-", GROUP, service("plain"), *address(6), much)
        expect(done == "ok", done)
        return listener.expect("ADDED", 6, begun, lambda host: host["metadata"] == MUCH)

    step("told-of-much", told_of_much)

    def told_of_departure():
        begun = time.monotonic()
        done = ask("deregister", "-", GROUP, service("plain"), *address(5))
        expect(done == "ok", done)
        return listener.expect("DELETED", 5, begun)

    step("told-of-departure", told_of_departure)

    def told_of_update():
        # All keys that it had, for servers of 2.x keep what is not named.
        updated = {**METADATA, "版本": "二"}
        begun = time.monotonic()
        done = client.sdk.modify_naming_instance(
            service("plain"), *address(2), cluster_name="DEFAULT", weight=3.0, metadata=updated, enable=True
        )
        expect(done, "it did not answer true")
        ms = listener.expect(
            "MODIFIED", 2, begun, lambda host: host["weight"] == 3 and host["metadata"] == updated
        )
        soon(lambda: shown("plain", 2), line(updated, weight="3"))
        return ms

    step("told-of-update", told_of_update)

    def other_group():
        client.register("plain", 10, METADATA, group=OTHER_GROUP)
        soon(lambda: client.numbers("plain", group=OTHER_GROUP), [10])
        soon(lambda: shown("plain", 10, group=OTHER_GROUP), line(METADATA))
        expect(shown("plain", 10) == "none", "it is listed in the other group too")

    step("other-group", other_group)

    def other_namespace():
        spaced.register("plain", 11, METADATA)
        soon(lambda: spaced.numbers("plain"), [11])
        soon(lambda: shown("plain", 11, namespace=NAMESPACE), line(METADATA))
        expect(shown("plain", 11) == "none", "it is listed in the public namespace too")

    step("other-namespace", other_namespace)

    def shown_lasting():
        return ask("instance", "-", GROUP, service("lasting"), *lasting_address)

    def persistent_register():
        done = client.sdk.add_naming_instance(
            service("lasting"), *lasting_address, "DEFAULT", metadata=METADATA, ephemeral=False
        )
        expect(done, "register did not answer true")
        soon(shown_lasting, line(METADATA, kind="persistent"))

    step("persistent-register", persistent_register)

    def deregister():
        begun = time.monotonic()
        client.deregister("plain", 2, cluster_name="DEFAULT")
        ms = listener.expect("DELETED", 2, begun)
        soon(lambda: shown("plain", 2), "none")
        return ms

    step("deregister", deregister)

    # The other process of this program is killed.
    killed = ask("kill")
    last_beat = time.monotonic() - int(killed) / 1000 if killed.isdigit() else None

    def until_killed(is_so):
        expect(last_beat is not None, killed)
        while not is_so(client.host("kept", 99)):
            expect(time.monotonic() < last_beat + GONE_S, f"not seen within {GONE_S} s")
            time.sleep(0.1)
        return round((time.monotonic() - last_beat) * 1000)

    step("killed-unhealthy", lambda: until_killed(lambda host: host is not None and not host["healthy"]))
    step("killed-gone", lambda: until_killed(lambda host: host is None))

    def stays_away():
        expect(shown("plain", 2) == "none", "the deregistered instance is back")

    step("stays-away", stays_away)

    def persistent_stays():
        soon(shown_lasting, line(METADATA, kind="persistent"))

    step("persistent-stays", persistent_stays)

    say("restart-please")
    if hear() == "restarted":
        begun = time.monotonic()

        def after_restart_persistent():
            soon(shown_lasting, line(METADATA, kind="persistent"))
            hosts = client.hosts("lasting")
            expect([host["metadata"] for host in hosts] == [METADATA], f"queried {hosts}")

        step("after-restart-persistent", after_restart_persistent)

        def after_restart_back():
            soon(lambda: shown("kept", 1), line(METADATA), within_s=15)
            soon(lambda: shown("plain", 3), line(METADATA, cluster="east"), within_s=15)
            return round((time.monotonic() - begun) * 1000)

        step("after-restart-back", after_restart_back)

    def persistent_deregister():
        done = client.sdk.remove_naming_instance(
            service("lasting"), *lasting_address, cluster_name="DEFAULT", ephemeral=False
        )
        expect(done, "it did not answer true")
        soon(shown_lasting, "none")

    step("persistent-deregister", persistent_deregister)
    say("done")


if __name__ == "__main__":
    main() if ROUND == "round" else victim()
    # The timers of its subscriptions would run on.
    os._exit(0)
