// The words that the programs here speak with `cargo xtask sdk`; `xtask/src/sdk/conversation.rs` describes them.

package sdk;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

final class Speech {

    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private static final BufferedReader IN =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private Speech() {
    }

    static void say(Object... words) {
        StringBuilder line = new StringBuilder();
        for (Object word : words) {
            line.append(line.length() == 0 ? "" : " ").append(word);
        }
        OUT.print(line.append('\n'));
        OUT.flush();
    }

    static String hear() throws Exception {
        String line = IN.readLine();
        if (line == null) {
            // Whoever drives us is gone.
            System.exit(1);
        }
        return line.trim();
    }

    static String ask(String question) throws Exception {
        say("ask", question);
        return hear();
    }

    static void expect(boolean condition, String reason) {
        if (!condition) {
            throw new IllegalStateException(reason);
        }
    }

    static void expectEqual(String seen, String wanted, String where) {
        expect(Objects.equals(seen, wanted), where + quoted(seen) + " instead of " + quoted(wanted));
    }

    static String quoted(String text) {
        if (text == null) {
            return "null";
        }
        return '"' + (text.length() > 120 ? text.substring(0, 117) + "..." : text) + '"';
    }

    static long millisSince(long nanos) {
        return Math.max(0, TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - nanos));
    }

    interface Body {
        /** Gives a time in milliseconds to report, or null. */
        Long run() throws Exception;
    }

    interface Untimed {
        void run() throws Exception;
    }

    static void step(String name, Body body) {
        try {
            Long ms = body.run();
            say("step", name, "ok", ms == null ? "" : ms);
        } catch (Exception error) {
            say("step", name, "FAILED", error.toString().replaceAll("\\s+", " "));
        }
    }

    static void untimed(String name, Untimed body) {
        step(name, () -> {
            body.run();
            return null;
        });
    }
}
