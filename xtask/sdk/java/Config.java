// The full round of configuration through nacos-client 1.x, driven by `cargo xtask sdk config`.
//
// Arguments: address (host:port), round (`ascii` or `chinese`, the letters of ids and groups), seed.
// The questions are described in `xtask/src/sdk/config/questions.rs`, the steps in `xtask/src/sdk/config/steps.rs`.

package sdk;

import static sdk.Speech.expect;
import static sdk.Speech.expectEqual;
import static sdk.Speech.hear;
import static sdk.Speech.millisSince;
import static sdk.Speech.say;
import static sdk.Speech.step;
import static sdk.Speech.untimed;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.PropertyKeyConst;
import com.alibaba.nacos.api.config.ConfigChangeEvent;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.ConfigType;
import com.alibaba.nacos.api.config.PropertyChangeType;
import com.alibaba.nacos.api.config.listener.AbstractListener;
import com.alibaba.nacos.client.config.listener.impl.AbstractConfigChangeListener;
import com.alibaba.nacos.client.config.utils.SnapShotSwitch;
import com.alibaba.nacos.common.utils.VersionUtils;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class Config {

    private static final long TOLD_WITHIN_MS = 10_000;
    private static final int MEBIBYTE = 1 << 20;

    private static String address;
    private static boolean chinese;
    private static String seed;
    private static String group;

    private static String ask(String what, String namespace, String key, String more) throws Exception {
        return Speech.ask(String.join(" ", what, namespace.isEmpty() ? "-" : namespace, group, key, more));
    }

    // Names and contents.

    /** The dataId for one purpose; nothing else in this round or another run uses it. */
    private static String key(String what) {
        return chinese ? "配置.java." + seed + "." + what + "-设置" : "sdk.java." + seed + "." + what;
    }

    private static String text(String what) {
        return what + ", seed " + seed + (chinese ? "：中文" : "");
    }

    private static String large() {
        String alphabet = "abcdefghijklmnopqrstuvwxyz0123456789 =&%+\n";
        Random random = new Random(seed.hashCode());
        StringBuilder content = new StringBuilder(MEBIBYTE);
        while (content.length() < MEBIBYTE) {
            content.append(alphabet.charAt(random.nextInt(alphabet.length())));
        }
        return content.toString();
    }

    private static String md5(String content) throws Exception {
        StringBuilder hex = new StringBuilder();
        for (byte one : MessageDigest.getInstance("MD5").digest(content.getBytes(StandardCharsets.UTF_8))) {
            hex.append(String.format("%02x", one));
        }
        return hex.toString();
    }

    /** All that a listener is told, in order. */
    private static class Listener extends AbstractListener {

        private static final class Notice {
            final long at = System.nanoTime();
            final String content;

            Notice(String content) {
                this.content = content;
            }
        }

        private final BlockingQueue<Notice> told = new LinkedBlockingQueue<>();

        @Override
        public void receiveConfigInfo(String content) {
            told.add(new Notice(content));
        }

        /** The next thing told must be {@code content}; gives the milliseconds since then. */
        long expectTold(String content, long sinceNanos) throws InterruptedException {
            Notice notice = told.poll(TOLD_WITHIN_MS, TimeUnit.MILLISECONDS);
            expect(notice != null, "not told within " + TOLD_WITHIN_MS + " ms");
            expectEqual(notice.content, content, "told of ");
            return Math.max(0, TimeUnit.NANOSECONDS.toMillis(notice.at - sinceNanos));
        }

        void expectNothing() {
            expect(told.isEmpty(), "told of something that did not happen");
        }
    }

    /** Told which keys of a properties file changed: the SDK compares by the type that the server names. */
    private static class KeyListener extends AbstractConfigChangeListener {

        final BlockingQueue<ConfigChangeEvent> told = new LinkedBlockingQueue<>();

        @Override
        public void receiveConfigChange(ConfigChangeEvent event) {
            told.add(event);
        }
    }

    private static class Client {

        final String namespace;
        final ConfigService sdk;

        Client(String namespace) throws Exception {
            Properties properties = new Properties();
            properties.setProperty(PropertyKeyConst.SERVER_ADDR, address);
            properties.setProperty(PropertyKeyConst.NAMESPACE, namespace);
            this.namespace = namespace;
            this.sdk = NacosFactory.createConfigService(properties);
        }

        void publish(String what, String content) throws Exception {
            expect(sdk.publishConfig(key(what), group, content), "publish did not give true");
        }

        String read(String what) throws Exception {
            return sdk.getConfig(key(what), group, 5000);
        }

        void expectRead(String what, String content) throws Exception {
            expectEqual(read(what), content, what + ": read ");
        }

        /** Reads until the content is there: Nacos promises a publish to readers soon, not at once. */
        long readSoon(String what, String content) throws Exception {
            long begun = System.nanoTime();
            while (true) {
                String seen = read(what);
                long ms = millisSince(begun);
                if (Objects.equals(seen, content)) {
                    return ms;
                }
                if (ms > TOLD_WITHIN_MS) {
                    expectEqual(seen, content, "read ");
                }
            }
        }

        void remove(String what) throws Exception {
            expect(sdk.removeConfig(key(what), group), "remove did not give true");
        }

        /** Listens from the present content on, which must be {@code current}. */
        Listener listen(String what, String current) throws Exception {
            Listener listener = new Listener();
            expectEqual(sdk.getConfigAndSignListener(key(what), group, 5000, listener), current, "listens to ");
            return listener;
        }

        /** Waits until the server holds our long poll for this key with the MD5 of this content. */
        void parked(String what, String content) throws Exception {
            String answer = ask("listened", namespace, key(what), content == null ? "-" : md5(content));
            expect(answer.equals("yes"), "the server holds no long poll for it");
        }
    }

    public static void main(String[] args) throws Exception {
        address = args[0];
        chinese = args[1].equals("chinese");
        seed = args[2];
        group = chinese ? "配置分组" : "SDK_GROUP";
        // No copy on disk answers when the server does not.
        SnapShotSwitch.setIsSnapShot(false);
        round();
        System.exit(0);
    }

    private static void round() throws Exception {
        say("client", VersionUtils.version);
        Client client = new Client("");
        Client spaced = new Client("sdk-java-" + seed);
        Listener[] plain = {null};
        Listener[] later = {null};
        Listener[] other = {null};
        Map<String, String> contents = new LinkedHashMap<>();
        contents.put("special", " a=1&b=2%20+c;d#e?f\r\n\tline \"quoted\" 'single' <tag> \\ end \n");
        contents.put("content", "中文内容：配置管理，标点。\n第二行 \uD83D\uDE00 end");
        contents.put("large", large());
        Map<String, String> stepOf = Map.of(
                "special", "special-characters", "content", "chinese-content", "large", "one-mebibyte");

        untimed("read-missing", () -> {
            client.expectRead("missing", null);
            expectEqual(ask("status", "", key("missing"), ""), "404", "answered ");
        });
        untimed("publish", () -> client.publish("plain", text("first")));
        step("read", () -> client.readSoon("plain", text("first")));
        contents.forEach((what, content) -> untimed(stepOf.get(what), () -> {
            client.publish(what, content);
            client.readSoon(what, content);
        }));
        untimed("type", () -> {
            expect(client.sdk.publishConfig(key("typed"), group, "{\"a\":1}", ConfigType.JSON.getType()),
                    "publish did not give true");
            client.readSoon("typed", "{\"a\":1}");
            expectEqual(ask("type", "", key("typed"), ""), "json", "stored as ");
        });

        step("told-of-change", () -> {
            plain[0] = client.listen("plain", text("first"));
            later[0] = client.listen("later", null);
            client.parked("plain", text("first"));
            client.publish("plain", text("second"));
            return plain[0].expectTold(text("second"), System.nanoTime());
        });
        step("told-of-creation", () -> {
            client.parked("later", null);
            client.publish("later", text("created"));
            return later[0].expectTold(text("created"), System.nanoTime());
        });
        step("told-of-removal", () -> {
            client.parked("later", text("created"));
            client.remove("later");
            return later[0].expectTold(null, System.nanoTime());
        });
        // A client of its own: the poll that the other one holds knows nothing of a further key.
        step("told-of-keys", () -> toldOfKeys(new Client("")));

        untimed("namespace-apart", () -> {
            spaced.expectRead("plain", null);
            spaced.publish("plain", text("spaced"));
            spaced.readSoon("plain", text("spaced"));
            client.expectRead("plain", text("second"));
        });
        step("namespace-told", () -> {
            other[0] = spaced.listen("plain", text("spaced"));
            spaced.parked("plain", text("spaced"));
            spaced.publish("plain", text("spaced again"));
            long ms = other[0].expectTold(text("spaced again"), System.nanoTime());
            plain[0].expectNothing();
            return ms;
        });

        if (!chinese) {
            untimed("chinese-id-refused", () -> {
                // This SDK gives false for any refusal but 403: the status is asked for.
                String refused = "配置.java." + seed;
                expect(!client.sdk.publishConfig(refused, group, text("refused")), "a Chinese id was taken");
                expectEqual(ask("status", "", refused, ""), "400", "answered ");
                expect(!client.sdk.publishConfig(key("refused"), "配置分组", text("refused")),
                        "a Chinese group was taken");
            });
        }

        say("restart-please");
        if (hear().equals("restarted")) {
            untimed("after-restart-read", () -> {
                Client fresh = new Client("");
                for (Map.Entry<String, String> one : contents.entrySet()) {
                    fresh.expectRead(one.getKey(), one.getValue());
                }
                fresh.expectRead("plain", text("second"));
                fresh.expectRead("later", null);
                new Client(spaced.namespace).expectRead("plain", text("spaced again"));
            });
            step("after-restart-told", () -> {
                client.publish("plain", text("third"));
                long ms = plain[0].expectTold(text("third"), System.nanoTime());
                later[0].expectNothing();
                other[0].expectNothing();
                return ms;
            });
        }

        untimed("remove", () -> {
            for (String what : new String[] {"plain", "special", "content", "large", "typed", "keys"}) {
                client.remove(what);
                client.readSoon(what, null);
                expectEqual(ask("status", "", key(what), ""), "404", what + " answers ");
            }
            spaced.remove("plain");
            spaced.readSoon("plain", null);
        });
        say("done");
    }

    private static long toldOfKeys(Client client) throws Exception {
        String before = "kept=1\nchanged=1\n";
        String type = ConfigType.PROPERTIES.getType();
        expect(client.sdk.publishConfig(key("keys"), group, before, type), "publish did not give true");
        client.readSoon("keys", before);
        KeyListener listener = new KeyListener();
        client.sdk.getConfigAndSignListener(key("keys"), group, 5000, listener);
        client.parked("keys", before);
        expect(client.sdk.publishConfig(key("keys"), group, "kept=1\nchanged=2\nadded=1\n", type),
                "publish did not give true");
        long published = System.nanoTime();
        ConfigChangeEvent event = listener.told.poll(TOLD_WITHIN_MS, TimeUnit.MILLISECONDS);
        expect(event != null, "not told within " + TOLD_WITHIN_MS + " ms");
        long ms = millisSince(published);
        expect(event.getChangeItem("kept") == null, "told of a key that did not change");
        expect(event.getChangeItem("changed").getType() == PropertyChangeType.MODIFIED, "a changed key is not told");
        expect(event.getChangeItem("added").getType() == PropertyChangeType.ADDED, "an added key is not told");
        return ms;
    }
}
