"""The full round of configuration through nacos-sdk-python, driven by `cargo xtask sdk config`.

Arguments: address (host:port), round (`ascii` or `chinese`, the letters of ids and groups), seed.
The questions are described in `xtask/src/sdk/config/questions.rs`, the steps in `xtask/src/sdk/config/steps.rs`.
"""

import hashlib
import os
import queue
import random
import sys
import time
import urllib.parse
import urllib.request

import nacos
from nacos.client import VERSION

from speech import ask, expect, hear, say, step

ADDRESS, ROUND, SEED = sys.argv[1:4]
CHINESE = ROUND == "chinese"
GROUP = "配置分组" if CHINESE else "SDK_GROUP"
NAMESPACE = f"sdk-python-{SEED}"
TOLD_WITHIN_S = 10
MEBIBYTE = 1 << 20


def key(what):
    """The dataId for one purpose; nothing else in this round or another run uses it."""
    return f"配置.python.{SEED}.{what}-设置" if CHINESE else f"sdk.python.{SEED}.{what}"


def text(what):
    return f"{what}, seed {SEED}" + ("：中文" if CHINESE else "")


def md5(content):
    return hashlib.md5(content.encode()).hexdigest()


def short(content):
    return repr(content if content is None or len(content) < 60 else content[:57] + "...")


class Client:
    """A client of its own with a cache folder of its own, so that no snapshot of another can answer."""

    count = 0

    def __init__(self, namespace=""):
        Client.count += 1
        folder = os.path.join(os.getcwd(), f"client-{Client.count}")
        self.sdk = nacos.NacosClient(ADDRESS, namespace=namespace, logDir=os.path.join(os.getcwd(), "logs"))
        self.sdk.set_options(
            snapshot_base=os.path.join(folder, "snapshot"), failover_base=os.path.join(folder, "failover")
        )

    def publish(self, data_id, content, **more):
        expect(self.sdk.publish_config(data_id, GROUP, content, **more), "publish did not answer true")

    def read(self, data_id):
        return self.sdk.get_config(data_id, GROUP, no_snapshot=True)

    def read_soon(self, data_id, content):
        """Reads until `content` is there: Nacos promises a publish to readers soon, not at once."""
        begun = time.monotonic()
        while True:
            seen = self.read(data_id)
            ms = round((time.monotonic() - begun) * 1000)
            if seen == content:
                return ms
            expect(ms < TOLD_WITHIN_S * 1000, f"read {short(seen)} instead of {short(content)}")

    def remove(self, data_id):
        expect(self.sdk.remove_config(data_id, GROUP), "remove did not answer true")

    def listen(self, data_id):
        return Listener(self.sdk, data_id)


class Listener:
    """All that a listener is told, in order."""

    def __init__(self, sdk, data_id):
        self.told = queue.Queue()

        def told(args):
            self.told.put((time.monotonic(), args["raw_content"]))

        sdk.add_config_watcher(data_id, GROUP, told)

    def expect(self, content, since):
        """The next thing told must be `content`; gives the milliseconds since `since`."""
        try:
            at, seen = self.told.get(timeout=TOLD_WITHIN_S)
        except queue.Empty:
            raise AssertionError(f"not told within {TOLD_WITHIN_S} s") from None
        expect(seen == content, f"told of {short(seen)} instead of {short(content)}")
        return max(0, round((at - since) * 1000))

    def expect_nothing(self):
        expect(self.told.empty(), "told of something that did not happen")


def parked(key_, content, namespace=""):
    """Waits until the server holds our long poll for this key with the MD5 of this content."""
    expect(
        ask("listened", namespace or "-", GROUP, key_, md5(content) if content is not None else "-") == "yes",
        "the server holds no long poll for it",
    )


def published_by_form(data_id, content):
    """A publish as every client but this one sends it: this one puts the content into the address."""
    form = urllib.parse.urlencode({"dataId": data_id, "group": GROUP, "content": content}).encode()
    with urllib.request.urlopen(f"http://{ADDRESS}/nacos/v1/cs/configs", form, timeout=10) as answer:
        expect(answer.read() == b"true", "publish by form did not answer true")


def main():
    say("client", VERSION)
    client = Client()
    spaced = Client(NAMESPACE)
    letters = random.Random(SEED).choices("abcdefghijklmnopqrstuvwxyz0123456789 =&%+\n", k=MEBIBYTE)
    large = "".join(letters)
    special = " a=1&b=2%20+c;d#e?f\r\n\tline \"quoted\" 'single' <tag> \\ end \n"
    chinese = "中文内容：配置管理，标点。\n第二行 😀 end"
    listener = {}

    def read_missing():
        seen = client.read(key("missing"))
        expect(seen is None, f"read {short(seen)}")
        expect(ask("status", "-", GROUP, key("missing")) == "404", "not answered 404")

    step("read-missing", read_missing)
    step("publish", lambda: client.publish(key("plain"), text("first")))
    step("read", lambda: client.read_soon(key("plain"), text("first")))

    def round_trip(what, content, **more):
        client.publish(key(what), content, **more)
        client.read_soon(key(what), content)

    step("special-characters", lambda: round_trip("special", special))
    step("chinese-content", lambda: round_trip("content", chinese))

    def one_mebibyte():
        published_by_form(key("large"), large)
        client.read_soon(key("large"), large)

    step("one-mebibyte", one_mebibyte)

    def long_address():
        # 7 KiB in all, which Nacos takes: a request's head may be 8 KiB there.
        round_trip("address", "x" * 7000)

    step("long-address", long_address)

    def endless_address():
        try:
            client.publish(key("endless"), large)
        except Exception as error:
            expect(isinstance(error, nacos.NacosException), f"{type(error).__name__}: {error}")
        else:
            raise AssertionError("an address of a mebibyte was taken")
        expect(ask("status", "-", GROUP, key("endless")) == "404", "something was stored")

    step("endless-address-refused", endless_address)

    def typed():
        round_trip("typed", '{"a":1}', config_type="json")
        expect(ask("type", "-", GROUP, key("typed")) == "json", "not stored as json")

    step("type", typed)

    def told_of_change():
        listener["plain"] = client.listen(key("plain"))
        listener["later"] = client.listen(key("later"))
        parked(key("plain"), text("first"))
        client.publish(key("plain"), text("second"))
        return listener["plain"].expect(text("second"), time.monotonic())

    step("told-of-change", told_of_change)

    def told_of_creation():
        parked(key("later"), None)
        client.publish(key("later"), text("created"))
        return listener["later"].expect(text("created"), time.monotonic())

    step("told-of-creation", told_of_creation)

    def told_of_removal():
        parked(key("later"), text("created"))
        client.remove(key("later"))
        return listener["later"].expect(None, time.monotonic())

    step("told-of-removal", told_of_removal)

    def namespace_apart():
        seen = spaced.read(key("plain"))
        expect(seen is None, f"another namespace shows {short(seen)}")
        spaced.publish(key("plain"), text("spaced"))
        spaced.read_soon(key("plain"), text("spaced"))
        seen = client.read(key("plain"))
        expect(seen == text("second"), f"public shows {short(seen)}")

    step("namespace-apart", namespace_apart)

    def namespace_told():
        listener["spaced"] = spaced.listen(key("plain"))
        parked(key("plain"), text("spaced"), namespace=NAMESPACE)
        spaced.publish(key("plain"), text("spaced again"))
        ms = listener["spaced"].expect(text("spaced again"), time.monotonic())
        listener["plain"].expect_nothing()
        return ms

    step("namespace-told", namespace_told)

    def refused(data_id, group):
        try:
            client.sdk.publish_config(data_id, group, text("refused"))
        except nacos.NacosException as error:
            expect("400" in str(error), f"refused otherwise: {error}")
        else:
            raise AssertionError(f"{data_id} in {group} was taken")

    def chinese_id_refused():
        refused(f"配置.python.{SEED}", GROUP)
        refused(key("refused"), "配置分组")

    if not CHINESE:
        step("chinese-id-refused", chinese_id_refused)

    say("restart-please")
    if hear() == "restarted":

        def after_restart_read():
            # New clients: nothing that the old ones kept on disk can answer.
            fresh, fresh_spaced = Client(), Client(NAMESPACE)
            for what, content in (
                ("plain", text("second")),
                ("special", special),
                ("content", chinese),
                ("large", large),
                ("later", None),
            ):
                seen = fresh.read(key(what))
                expect(seen == content, f"{what}: read {short(seen)} instead of {short(content)}")
            seen = fresh_spaced.read(key("plain"))
            expect(seen == text("spaced again"), f"another namespace shows {short(seen)}")

        step("after-restart-read", after_restart_read)

        def after_restart_told():
            client.publish(key("plain"), text("third"))
            ms = listener["plain"].expect(text("third"), time.monotonic())
            listener["later"].expect_nothing()
            listener["spaced"].expect_nothing()
            return ms

        step("after-restart-told", after_restart_told)

    def removed():
        for what in ("plain", "special", "content", "large", "address", "typed"):
            client.remove(key(what))
            client.read_soon(key(what), None)
            expect(ask("status", "-", GROUP, key(what)) == "404", f"{what} is still answered")
        spaced.remove(key("plain"))
        spaced.read_soon(key("plain"), None)

    step("remove", removed)
    say("done")


if __name__ == "__main__":
    main()
