// Two applications of Spring Cloud Alibaba, driven by `cargo xtask sdk naming`: both register as the same service; one
// discovers and calls, the other is killed.
//
// Arguments: address (host:port), `round` or `victim`, seed.
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

import com.alibaba.cloud.nacos.discovery.NacosDiscoveryClient;

import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.client.ServiceInstance;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.cloud.client.loadbalancer.LoadBalanced;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

@SpringBootApplication
@RestController
public class Pair {

    private static final long SOON_MS = 3_000;
    private static final long GONE_MS = 60_000;
    private static final String GROUP = "DEFAULT_GROUP";
    private static final String IP = "127.0.5.1";
    private static final String VICTIM_IP = "127.0.5.99";
    private static final String OTHER_IP = "127.0.5.5";
    private static final String LINE = "DEFAULT 1 healthy ephemeral "
            + "{\"note\":\"a=1&b 中文，标点 + %20\",\"preserved.register.source\":\"SPRING_CLOUD\",\"区域\":\"华东一区\"}";

    @Value("${server.address}")
    private String ip;

    @Bean
    @LoadBalanced
    RestTemplate restTemplate() {
        return new RestTemplate();
    }

    @GetMapping("/who")
    String who() {
        return ip;
    }

    public static void main(String[] args) throws Exception {
        boolean victim = args[1].equals("victim");
        // It is a host's name to those who call it: no number may be its last part.
        String service = "sdk.spring." + args[2] + ".pair";
        ConfigurableApplicationContext context = SpringApplication.run(Pair.class,
                "--spring.application.name=" + service,
                "--spring.main.banner-mode=off",
                "--server.address=" + (victim ? VICTIM_IP : IP),
                "--server.port=0",
                "--spring.cloud.nacos.discovery.server-addr=" + args[0],
                // It would ask for the same list, of one cluster, and servers of 2.x tell one client of one choice of them.
                "--spring.cloud.nacos.discovery.watch.enabled=false",
                // By itself it takes an address that is not of loopback, and asks for its name.
                "--spring.cloud.inetutils.ignored-interfaces[0]=.*",
                "--spring.cloud.nacos.discovery.ip=" + (victim ? VICTIM_IP : IP),
                "--spring.cloud.nacos.discovery.metadata.note=a=1&b 中文，标点 + %20",
                "--spring.cloud.nacos.discovery.metadata[区域]=华东一区");
        String port = context.getEnvironment().getProperty("local.server.port");
        if (victim) {
            say("registered", "-", GROUP, service, VICTIM_IP, port);
            hear();
        } else {
            round(context, service, port);
        }
        System.exit(0);
    }

    private static void round(ConfigurableApplicationContext context, String service, String port)
            throws Exception {
        say("client", NacosDiscoveryClient.class.getPackage().getImplementationVersion());
        DiscoveryClient discovery = context.getBean(DiscoveryClient.class);
        RestTemplate http = context.getBean(RestTemplate.class);
        String named = "- " + GROUP + " " + service + " ";
        Callable<String> hosts = () -> hosts(discovery.getInstances(service));

        untimed("discovered", () -> {
            // The other one takes its time to start.
            soon(hosts, IP + " " + VICTIM_IP, 60_000);
            Map<String, String> metadata = discovery.getInstances(service).get(0).getMetadata();
            expectEqual(metadata.get("区域"), "华东一区", "its metadata are " + metadata + ": ");
            expectEqual(metadata.get("preserved.register.source"), "SPRING_CLOUD", "its metadata are " + metadata + ": ");
            soon(() -> ask("instance " + named + IP + " " + port), LINE, SOON_MS);
        });
        untimed("called", () -> {
            TreeSet<String> answered = new TreeSet<>();
            for (int i = 0; i < 10; i++) {
                answered.add(http.getForObject("http://" + service + "/who", String.class));
            }
            expectEqual(String.join(" ", answered), IP + " " + VICTIM_IP, "answers came from ");
        });
        untimed("service-list", () -> {
            List<String> services = discovery.getServices();
            expect(services.contains(service), "it is " + services);
        });
        untimed("subscribed", () -> expectEqual(ask("subscribed " + named), "yes", ""));
        step("told-of-instance", () -> changed("register", named, hosts, seen -> seen.contains(OTHER_IP)));
        step("told-of-departure", () -> changed("deregister", named, hosts, seen -> !seen.contains(OTHER_IP)));

        step("killed-unhealthy", () -> {
            String killed = ask("kill");
            expect(killed.matches("\\d+"), killed);
            long lastBeat = System.nanoTime() - TimeUnit.MILLISECONDS.toNanos(Long.parseLong(killed));
            // What is not healthy is not shown.
            soon(hosts, IP, GONE_MS);
            return millisSince(lastBeat);
        });

        say("restart-please");
        if (hear().equals("restarted")) {
            long restarted = System.nanoTime();
            step("after-restart-back", () -> {
                soon(() -> ask("instance " + named + IP + " " + port), LINE, 15_000);
                return millisSince(restarted);
            });
            step("after-restart-told", () -> {
                expectEqual(ask("subscribed " + named), "yes", "");
                return changed("register", named, hosts, seen -> seen.contains(OTHER_IP));
            });
        }
        untimed("deregister", () -> {
            context.close();
            soon(() -> ask("instance " + named + IP + " " + port), "none", SOON_MS);
        });
        say("done");
    }

    private static String hosts(List<ServiceInstance> instances) {
        return instances.stream().map(ServiceInstance::getHost).sorted().collect(Collectors.joining(" "));
    }

    /** A change behind the application's back; gives the milliseconds until it shows. */
    private static long changed(String how, String named, Callable<String> hosts, Predicate<String> isSo)
            throws Exception {
        long begun = System.nanoTime();
        expectEqual(ask(how + " " + named + OTHER_IP + " 8005"), "ok", "it answered ");
        while (!isSo.test(hosts.call())) {
            expect(millisSince(begun) < SOON_MS, "not told within " + SOON_MS + " ms, but shows " + hosts.call());
            Thread.sleep(2);
        }
        return millisSince(begun);
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
}
