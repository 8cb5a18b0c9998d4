// The full round of service discovery through nacos-client 1.x, driven by `cargo xtask sdk naming`.
//
// Arguments: address (host:port), `round` or `victim` (who only registers, beats and is killed), seed.
// The questions are described in `xtask/src/sdk/naming/questions.rs`, the steps in `xtask/src/sdk/naming/steps.rs`.

package sdk;

import static sdk.Speech.ask;
import static sdk.Speech.expect;
import static sdk.Speech.expectEqual;
import static sdk.Speech.hear;
import static sdk.Speech.millisSince;
import static sdk.Speech.say;
import static sdk.Speech.step;
import static sdk.Speech.untimed;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.PropertyKeyConst;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import com.alibaba.nacos.api.naming.pojo.ListView;
import com.alibaba.nacos.common.utils.JacksonUtils;
import com.alibaba.nacos.common.utils.VersionUtils;

import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;

public class Naming {

    private static final String GROUP = "DEFAULT_GROUP";
    private static final String OTHER_GROUP = "SDK_GROUP";
    private static final long SOON_MS = 3_000;
    private static final long GONE_MS = 60_000;
    private static final Map<String, String> METADATA =
            new TreeMap<>(Map.of("区域", "华东一区", "note", "a=1&b 中文，标点 + %20"));
    private static final Map<String, String> MUCH = Map.of("much", "很多".repeat(400));

    private static String server;
    private static String seed;

    // Names and texts.

    /** The service for one purpose; nothing else in this round or another run uses it. */
    private static String service(String what) {
        return "sdk.java." + seed + "." + what;
    }

    private static String ip(int number) {
        return "127.0.3." + number;
    }

    private static Instance instance(int number, Map<String, String> metadata) {
        Instance instance = new Instance();
        instance.setIp(ip(number));
        instance.setPort(8000 + number);
        instance.setMetadata(new TreeMap<>(metadata));
        return instance;
    }

    /** A healthy instance as xtask words it. */
    private static String line(String cluster, String weight, String kind, Map<String, String> metadata) {
        return String.join(" ", cluster, weight, "healthy", kind, JacksonUtils.toJson(new TreeMap<>(metadata)));
    }

    private static String line(Map<String, String> metadata) {
        return line("DEFAULT", "1", "ephemeral", metadata);
    }

    /** An instance as plain HTTP shows it. */
    private static String shown(String namespace, String group, String what, int number) throws Exception {
        return ask(String.join(" ", "instance", namespace, group, service(what), ip(number), "" + (8000 + number)));
    }

    private static String shown(String what, int number) throws Exception {
        return shown("-", GROUP, what, number);
    }

    /** A change behind the SDK's back. */
    private static void changed(String how, String what, int number, String parameter) throws Exception {
        String done = ask(String.join(" ", how, "-", GROUP, service(what), ip(number), "" + (8000 + number), parameter));
        expectEqual(done, "ok", "it answered ");
    }

    /** Reads until it is as wanted, for Nacos promises it soon. */
    private static void soon(Callable<String> read, String wanted, long withinMs) throws Exception {
        long begun = System.nanoTime();
        while (true) {
            String seen = read.call();
            if (seen.equals(wanted)) {
                return;
            }
            if (millisSince(begun) > withinMs) {
                expectEqual(seen, wanted, "after " + withinMs + " ms ");
            }
            Thread.sleep(20);
        }
    }

    private static void soon(Callable<String> read, String wanted) throws Exception {
        soon(read, wanted, SOON_MS);
    }

    private static Properties properties(String namespace) {
        Properties properties = new Properties();
        properties.setProperty(PropertyKeyConst.SERVER_ADDR, server);
        properties.setProperty(PropertyKeyConst.NAMESPACE, namespace);
        return properties;
    }

    /** The last parts of the addresses. */
    private static String numbers(List<Instance> instances) {
        return instances.stream().map(one -> Integer.valueOf(one.getIp().substring(ip(0).length() - 1))).sorted()
                .map(String::valueOf).collect(Collectors.joining("+"));
    }

    private static Instance find(List<Instance> instances, int number) {
        return instances.stream().filter(one -> one.getIp().equals(ip(number))).findFirst().orElse(null);
    }

    /** All that a subscriber is told, in order. */
    private static class Listener {

        private static final class Notice {
            final long at = System.nanoTime();
            final List<Instance> instances;

            Notice(List<Instance> instances) {
                this.instances = instances;
            }
        }

        private final BlockingQueue<Notice> told = new LinkedBlockingQueue<>();

        Listener(NamingService sdk, String what) throws Exception {
            sdk.subscribe(service(what), GROUP, event -> told.add(new Notice(((NamingEvent) event).getInstances())));
        }

        /** Waits until told of a list of which something holds; gives the milliseconds since then. */
        long expectTold(Predicate<List<Instance>> isSo, long sinceNanos) throws InterruptedException {
            List<String> heard = new ArrayList<>();
            while (millisSince(sinceNanos) < SOON_MS) {
                Notice notice = told.poll(SOON_MS, TimeUnit.MILLISECONDS);
                if (notice != null && isSo.test(notice.instances)) {
                    return Math.max(0, TimeUnit.NANOSECONDS.toMillis(notice.at - sinceNanos));
                }
                heard.add(notice == null ? "nothing" : numbers(notice.instances));
            }
            throw new IllegalStateException("not told within " + SOON_MS + " ms, but of " + heard);
        }
    }

    public static void main(String[] args) throws Exception {
        server = args[0];
        seed = args[2];
        if (args[1].equals("victim")) {
            victim();
        } else {
            round();
        }
        System.exit(0);
    }

    private static void victim() throws Exception {
        NacosFactory.createNamingService(properties("")).registerInstance(service("kept"), GROUP, instance(99, METADATA));
        say("registered", "-", GROUP, service("kept"), ip(99), 8099);
        hear();
    }

    private static void round() throws Exception {
        say("client", VersionUtils.version);
        NamingService sdk = NacosFactory.createNamingService(properties(""));
        String namespace = "sdk-java-" + seed;
        NamingService spaced = NacosFactory.createNamingService(properties(namespace));
        Listener[] listener = {null};
        // Something that a persistent instance's health check can connect to.
        ServerSocket socket = new ServerSocket(0, 50, InetAddress.getByName(ip(7)));
        Instance lasting = instance(7, METADATA);
        lasting.setPort(socket.getLocalPort());
        lasting.setEphemeral(false);
        String lastingLine = line("DEFAULT", "1", "persistent", METADATA);
        Callable<String> shownLasting = () ->
                ask(String.join(" ", "instance", "-", GROUP, service("lasting"), ip(7), "" + lasting.getPort()));

        untimed("server-status", () -> expectEqual(sdk.getServerStatus(), "UP", "it is "));
        untimed("register", () -> {
            sdk.registerInstance(service("kept"), GROUP, instance(1, METADATA));
            sdk.registerInstance(service("plain"), GROUP, instance(1, Map.of()));
            Instance weighty = instance(2, METADATA);
            weighty.setWeight(1.5);
            sdk.registerInstance(service("plain"), GROUP, weighty);
            soon(() -> shown("kept", 1), line(METADATA));
            // From here on the SDK has itself told, and answers by what it was told last.
            sdk.getAllInstances(service("kept"), GROUP, true);
            soon(() -> shown("plain", 1), line(Map.of()));
            soon(() -> shown("plain", 2), line("DEFAULT", "1.5", "ephemeral", METADATA));
        });
        untimed("query", () -> {
            Instance seen = find(sdk.getAllInstances(service("plain"), GROUP, false), 2);
            expect(seen != null && seen.getPort() == 8002 && seen.getWeight() == 1.5 && seen.isHealthy()
                    && seen.isEphemeral() && seen.isEnabled() && seen.getMetadata().equals(METADATA), "it is " + seen);
        });
        untimed("query-cluster", () -> {
            Instance eastern = instance(3, METADATA);
            eastern.setClusterName("east");
            sdk.registerInstance(service("plain"), GROUP, eastern);
            soon(() -> numbers(sdk.getAllInstances(service("plain"), GROUP, false)), "1+2+3");
            soon(() -> numbers(sdk.getAllInstances(service("plain"), GROUP, List.of("east"), false)), "3");
            soon(() -> numbers(sdk.getAllInstances(service("plain"), GROUP, List.of("DEFAULT"), false)), "1+2");
        });
        untimed("query-healthy", () -> {
            changed("register", "plain", 4, "healthy=false");
            soon(() -> numbers(sdk.getAllInstances(service("plain"), GROUP, false)), "1+2+3+4");
            soon(() -> numbers(sdk.selectInstances(service("plain"), GROUP, true, false)), "1+2+3");
            soon(() -> numbers(sdk.selectInstances(service("plain"), GROUP, false, false)), "4");
        });

        untimed("subscribed", () -> {
            listener[0] = new Listener(sdk, "plain");
            listener[0].expectTold(all -> find(all, 2) != null, System.nanoTime());
            expectEqual(ask("subscribed - " + GROUP + " " + service("plain")), "yes", "");
        });
        step("told-of-instance", () -> {
            long begun = System.nanoTime();
            changed("register", "plain", 5, "");
            return listener[0].expectTold(all -> find(all, 5) != null, begun);
        });
        step("told-of-much", () -> {
            long begun = System.nanoTime();
            changed("register", "plain", 6, "metadata=" + JacksonUtils.toJson(MUCH));
            return listener[0].expectTold(all -> find(all, 6) != null && find(all, 6).getMetadata().equals(MUCH), begun);
        });
        step("told-of-departure", () -> {
            long begun = System.nanoTime();
            changed("deregister", "plain", 5, "");
            return listener[0].expectTold(all -> find(all, 5) == null, begun);
        });
        step("told-of-update", () -> {
            // All keys that it had, for servers of 2.x keep what is not named.
            Map<String, String> updated = new TreeMap<>(METADATA);
            updated.put("版本", "二");
            Instance update = instance(2, updated);
            update.setWeight(3);
            long begun = System.nanoTime();
            NacosFactory.createMaintainService(properties("")).updateInstance(service("plain"), GROUP, update);
            long ms = listener[0].expectTold(all -> find(all, 2) != null && find(all, 2).getWeight() == 3
                    && find(all, 2).getMetadata().equals(updated), begun);
            soon(() -> shown("plain", 2), line("DEFAULT", "3", "ephemeral", updated));
            return ms;
        });
        untimed("other-group", () -> {
            sdk.registerInstance(service("plain"), OTHER_GROUP, instance(10, METADATA));
            soon(() -> numbers(sdk.getAllInstances(service("plain"), OTHER_GROUP, false)), "10");
            soon(() -> shown("-", OTHER_GROUP, "plain", 10), line(METADATA));
            expectEqual(shown("plain", 10), "none", "in the other group it is ");
        });
        untimed("other-namespace", () -> {
            spaced.registerInstance(service("plain"), GROUP, instance(11, METADATA));
            soon(() -> numbers(spaced.getAllInstances(service("plain"), GROUP, false)), "11");
            soon(() -> shown(namespace, GROUP, "plain", 11), line(METADATA));
            expectEqual(shown("plain", 11), "none", "in the public namespace it is ");
        });
        untimed("service-list", () -> {
            ListView<String> all = sdk.getServicesOfServer(1, 500, GROUP);
            expect(all.getData().contains(service("plain")) && all.getCount() >= all.getData().size(), "it is " + all);
            ListView<String> those = spaced.getServicesOfServer(1, 10, GROUP);
            expect(those.getCount() == 1 && those.getData().equals(List.of(service("plain"))), "it is " + those);
        });
        untimed("persistent-register", () -> {
            sdk.registerInstance(service("lasting"), GROUP, lasting);
            soon(shownLasting, lastingLine);
        });
        step("deregister", () -> {
            long begun = System.nanoTime();
            sdk.deregisterInstance(service("plain"), GROUP, instance(2, Map.of()));
            long ms = listener[0].expectTold(all -> find(all, 2) == null, begun);
            soon(() -> shown("plain", 2), "none");
            return ms;
        });

        // The other process of this program is killed.
        String killed = ask("kill");
        long answered = System.nanoTime();
        step("killed-unhealthy", () -> untilKilled(sdk, killed, answered, one -> one != null && !one.isHealthy()));
        step("killed-gone", () -> untilKilled(sdk, killed, answered, one -> one == null));
        untimed("stays-away", () -> expectEqual(shown("plain", 2), "none", "it is back: "));
        untimed("persistent-stays", () -> soon(shownLasting, lastingLine));

        say("restart-please");
        if (hear().equals("restarted")) {
            long restarted = System.nanoTime();
            untimed("after-restart-persistent", () -> {
                soon(shownLasting, lastingLine);
                List<Instance> seen = sdk.getAllInstances(service("lasting"), GROUP, false);
                expect(seen.size() == 1 && seen.get(0).getMetadata().equals(METADATA), "queried " + seen);
            });
            step("after-restart-back", () -> {
                soon(() -> shown("kept", 1), line(METADATA), 15_000);
                soon(() -> shown("plain", 3), line("east", "1", "ephemeral", METADATA), 15_000);
                return millisSince(restarted);
            });
            step("after-restart-told", () -> {
                expectEqual(ask("subscribed - " + GROUP + " " + service("plain")), "yes", "");
                long begun = System.nanoTime();
                changed("register", "plain", 5, "");
                return listener[0].expectTold(all -> find(all, 5) != null, begun);
            });
        }

        untimed("persistent-deregister", () -> {
            sdk.deregisterInstance(service("lasting"), GROUP, lasting);
            soon(shownLasting, "none");
        });
        say("done");
    }

    /** Waits until it is so of the killed process's instance; gives the milliseconds since its last heartbeat. */
    private static long untilKilled(NamingService sdk, String killed, long answered, Predicate<Instance> isSo)
            throws Exception {
        expect(killed.matches("\\d+"), killed);
        long lastBeat = answered - TimeUnit.MILLISECONDS.toNanos(Long.parseLong(killed));
        while (!isSo.test(find(sdk.getAllInstances(service("kept"), GROUP, true), 99))) {
            expect(millisSince(lastBeat) < GONE_MS, "not seen within " + GONE_MS + " ms");
            Thread.sleep(50);
        }
        return millisSince(lastBeat);
    }
}
