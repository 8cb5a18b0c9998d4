//! What can be wrong with a request, as strategies.

use proptest::{
    prelude::*,
    sample::{Index, select},
};

use crate::{
    calls::AGENT,
    good::{good_parameters, read_by},
    support::{Request, encode, http::encode_bytes},
    world::Target,
};

/// Texts that somebody might take for something. Addresses are those of loopback.
const WORDS: &str = "\
    ¦ ¦   ¦\t¦\r\n¦\0¦a\0b¦\u{1}¦\u{7f}¦null¦public¦PUBLIC¦true¦false¦TRUE¦yes¦on¦t¦undefined¦%¦%%¦%00¦%zz¦%2¦+¦++\
    ¦*¦**¦_¦\\¦'¦\"¦' OR 1=1 --¦?¦?1¦a.b¦a/b¦../../etc/passwd¦a:b¦a=b¦a=b,c=d¦a=b=c¦=¦==¦,=,¦=b¦a=\
    ¦<script>alert(1)</script>¦${jndi:ldap://127.0.0.1/x}¦{{7*7}}¦中文¦é¦e\u{301}¦ǅ¦\u{202e}x¦\u{feff}¦\u{fffd}¦🦀\
    ¦\u{10ffff}¦١٢٣¦１¦²¦,¦,,,¦a,,b¦#¦##¦a##b¦public##DEFAULT_GROUP@@s1¦@¦@@¦@@@@¦@@s1¦g@@¦g@@s1¦g@@s1@@\
    ¦DEFAULT_GROUP@@s1¦DEFAULT_GROUP@@p1¦DEFAULT_GROUP¦g¦s1¦p1¦empty¦described¦fresh¦ns1¦DEFAULT¦A¦A,B¦C-1¦a_b\
    ¦127.9.0.1¦127.9.0.2¦127.9.1.1¦127.9.9.9¦127.0.0.1¦::1¦[::1]¦localhost¦999.999.999.999¦127.9.0.1:80\
    ¦127.9.0.1:80#true¦127.9.1.1:80#false¦a#b¦#true¦:#true¦ephemeral¦persist¦preserved.heart.beat.interval=1\
    ¦preserved.heart.beat.timeout=0¦preserved.ip.delete.timeout=9223372036854775807\
    ¦preserved.heart.beat.interval=9223372036854775807¦preserved.instance.id.generator=snowflake\
    ¦enableClientBeat=true¦java:1.2.3¦java¦:¦::¦ruby:1.2.3¦/nacos/v1/ns:503¦/nacos/v1/ns:99999¦/:200¦/nacos:1¦:5\
    ¦/x¦UP¦DOWN¦STARTING¦READ_ONLY¦WRITE_ONLY¦DEBUG¦naming-raft¦ROOT";

/// Switches, and what is none.
const ENTRIES: &str = "\
    distroThreshold¦clientBeatInterval¦pushVersion¦pushCacheMillis¦defaultCacheMillis¦masters¦distro¦check\
    ¦pushEnabled¦serviceStatusSynchronizationPeriodMillis¦serverStatusSynchronizationPeriodMillis¦healthCheckTimes\
    ¦disableAddIP¦sendBeatOnly¦limitedUrlMap¦enableStandalone¦overriddenServerStatus¦defaultInstanceEphemeral\
    ¦distroServerExpiredMillis¦lightBeatEnabled¦autoChangeHealthCheckEnabled¦httpHealthParams¦tcpHealthParams\
    ¦mysqlHealthParams¦batch¦nosuch";

/// Numbers at the ends of their kinds and beyond, and what only looks like one.
const NUMBERS: &str = "\
    0¦-0¦1¦-1¦+1¦01¦1.5¦0.5¦1e3¦1e308¦1e400¦-1e400¦1e-400¦NaN¦nan¦Infinity¦-Infinity¦inf¦0x10¦0x1p3¦1f¦1d¦ 7 ¦80\
    ¦500¦501¦10000¦10000.000001¦65535¦65536¦1000000¦2147483647¦2147483648¦-2147483648¦-2147483649¦4294967296\
    ¦9223372036854775807¦9223372036854775808¦-9223372036854775808¦18446744073709551615¦99999999999999999999999999\
    ¦3.4028236e38";

/// Documents for the parameters that are JSON, good and bad.
const JSON: &str = r#"
¦{}¦[]¦null¦1¦"x"¦true¦{oops¦[{]¦{"a":1}¦{"a":null}¦{"a":"b","a":"c"}¦{"a":{"b":1}}¦{"a":[]}¦{"":""}¦{"a":"\u0000"}
¦{"\u0000":"a"}¦{"a":"\ud800"}¦{"a":1e400}¦{"a":1e999999999}¦{"a":-0}¦{"a":99999999999999999999999}¦{"a":"b"} trailing
¦[null]¦[[]]¦[{}]¦{"ip":null}¦{"ip":""}¦{"ip":" ","port":80}¦{"ip":"127.9.0.1"}¦{"ip":"127.9.0.1","port":"80"}
¦{"ip":"127.9.0.1","port":80.5}¦{"ip":"127.9.0.1","port":-1}¦{"ip":"127.9.0.1","port":65536}
¦{"ip":"127.9.0.1","port":9223372036854775808}¦{"ip":["127.9.0.1"],"port":80}
¦{"ip":"127.9.0.3","port":81,"weight":"NaN"}¦{"ip":"127.9.0.3","port":81,"weight":"Infinity"}
¦{"ip":"127.9.0.3","port":81,"weight":-1}¦{"ip":"127.9.0.3","port":81,"weight":1e400}
¦{"ip":"127.9.0.3","port":81,"weight":10001}¦{"ip":"127.9.0.3","port":81,"weight":null}
¦{"ip":"127.9.0.3","port":81,"cluster":"a b"}¦{"ip":"127.9.0.3","port":81,"cluster":7}
¦{"ip":"127.9.0.3","port":81,"cluster":"C-1"}¦{"ip":"127.9.0.3","port":81,"metadata":null}
¦{"ip":"127.9.0.3","port":81,"metadata":[]}¦{"ip":"127.9.0.3","port":81,"metadata":{"a":{}}}
¦{"ip":"127.9.0.3","port":81,"metadata":{"preserved.ip.delete.timeout":"0","preserved.heart.beat.interval":"0"}}
¦[{"ip":"127.9.0.1","port":80}]¦[{"ip":"127.9.0.1","port":80,"clusterName":null}]¦[{"ip":"127.9.0.1","port":70000}]
¦[{"ip":"127.9.0.1","port":80,"ephemeral":"maybe"}]¦[{"ip":"127.9.9.9","port":1}]
¦[{"ip":"127.9.0.1","port":80},{"ip":"127.9.0.1","port":80}]¦{"type":"none"}¦{"type":"label"}
¦{"type":"label","expression":5}¦{"type":"label","expression":"&&"}¦{"type":"label","expression":"CONSUMER.label.="}
¦{"type":"label","expression":"CONSUMER.label.A=PROVIDER.label.B"}¦{"type":"foo"}¦{"type":5}¦{"type":"TCP"}
¦{"type":"tcp"}¦{"type":"NONE"}¦{"type":"HTTP","path":{}}
¦{"type":"HTTP","path":"\r\nX: y","headers":"a|b|:|::|\u0000:x"}¦{"type":"HTTP","expectedResponseCode":1e400}
¦{"type":"HTTP","expectedResponseCode":99999999999}¦{"type":"MYSQL","user":[],"cmd":"drop table x"}¦{"max":1,"min":1}
¦{"max":1e400}¦{"max":9999999999,"min":500,"factor":0.5}¦{"max":5000,"min":500,"factor":"NaN"}"#;

/// Parameters that are numbers, and those that are JSON.
const NUMERIC: [&str; 7] = ["port", "weight", "pageNo", "pageSize", "protectThreshold", "checkPort", "udpPort"];
const DOCUMENTS: [&str; 5] = ["beat", "instances", "metadata", "selector", "healthChecker"];

/// Of a body that nobody wants the server reads so much before it hangs up.
const BODY_MAX: usize = 2_000_000;

/// One request with everything that is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) target: Target,
    pub(crate) method: Option<&'static str>,
    pub(crate) tail: &'static str,
    pub(crate) changes: Vec<Change>,
    pub(crate) in_form: bool,
    pub(crate) headers: Vec<(&'static str, Short)>,
    pub(crate) body: Option<(&'static str, Short)>,
}

/// What is done to the good parameters. An index tells which of those that the route reads.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Remove(Index),
    RemoveAll,
    /// To what the parameter may be taken for, if the flag is set; else to the text.
    Set(Index, Odd, bool),
    /// Comes a second time, in the query and in the form.
    Repeat(Index, Odd),
    AddOdd(Short, Short),
}

/// Odd values of each kind.
#[derive(Debug, Clone)]
pub(crate) struct Odd {
    text: Short,
    number: Short,
    document: Short,
    entry: Short,
}

impl Odd {
    fn of(&self, name: &str, fitting: bool) -> &Short {
        match name {
            "entry" if fitting => &self.entry,
            // A switch may be anything.
            "value" if fitting => [&self.text, &self.document, &self.number][self.text.0.len() % 3],
            name if fitting && NUMERIC.contains(&name) => &self.number,
            name if fitting && DOCUMENTS.contains(&name) => &self.document,
            _ => &self.text,
        }
    }
}

/// Bytes as they are sent, shown in brief.
#[derive(Clone)]
pub(crate) struct Short(pub(crate) Vec<u8>);

impl std::fmt::Debug for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(300)];
        write!(f, "{:?} ({} bytes)", String::from_utf8_lossy(shown), self.0.len())
    }
}

/// A text, and how often it stands behind itself.
type Repeated = (Vec<u8>, usize);

fn once(text: impl Into<Vec<u8>>) -> Repeated {
    (text.into(), 1)
}

fn words(list: &'static str) -> impl Strategy<Value = Repeated> {
    select(list.split('¦').collect::<Vec<_>>()).prop_map(|text| once(text.trim_end_matches('\n')))
}

/// Texts, not yet encoded.
fn text() -> impl Strategy<Value = Repeated> {
    let long = (
        select(vec!["x", "中", "*", ",", "a,", "a=b,", "%", "\0", " ", "🦀", "@", "#"]),
        select(vec![17, 65, 129, 257, 513, 1025, 33_000]),
    );
    // Only a form may be so large.
    let huge = select(vec![("x", 1_000_000), ("a,", 250_000), ("a=b,", 100_000), ("%", 100_000), ("@@", 50_000)]);
    prop_oneof![
        14 => words(WORDS),
        4 => words(NUMBERS),
        6 => long.prop_map(|(text, times)| (text.into(), times)),
        1 => huge.prop_map(|(text, times)| (text.into(), times)),
        4 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(once),
        4 => "\\PC{0,30}".prop_map(once),
    ]
}

/// JSON, and what is nearly.
fn document() -> impl Strategy<Value = Repeated> {
    let nested = (
        select(vec!["[", "{\"a\":", "[{\"metadata\":{\"a\":", "{\"metadata\":"]),
        select(vec![1, 10, 127, 128, 200, 10_000, 40_000]),
    );
    let whole = select(vec![10, 127, 128, 1000])
        .prop_map(|depth| once(format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))));
    // Longer than metadata may be, by much.
    let long = (select(vec!["x", "中", "\\u0000", "🦀"]), select(vec![300, 1030, 20_000])).prop_map(|(text, times)| {
        let long = text.repeat(times);
        let metadata = format!("{{\"a\":\"{long}\"}}");
        once(format!("{{\"ip\":\"127.9.0.4\",\"port\":82,\"a\":\"{long}\",\"metadata\":{metadata}}}"))
    });
    let many = select(vec![10, 1000, 10_000]).prop_map(|count| {
        let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":\"v\"")).collect();
        once(format!("{{{}}}", members.join(",")))
    });
    let list = select(vec![10, 1000]).prop_map(|count| {
        let targets: Vec<String> = (0..count).map(|n| format!("{{\"ip\":\"127.9.8.{n}\",\"port\":80}}")).collect();
        once(format!("[{}]", targets.join(",")))
    });
    prop_oneof![
        24 => words(JSON),
        4 => nested.prop_map(|(text, times)| (text.into(), times)),
        2 => whole,
        1 => long,
        1 => many,
        1 => list,
        6 => text(),
    ]
}

/// Encoded well or badly.
fn sent(value: impl Strategy<Value = Repeated>) -> impl Strategy<Value = Short> {
    (value, 0..12_u8).prop_map(|((text, times), how)| {
        let encoded = match how {
            0..=8 => encode_bytes(&text).into_bytes(),
            9 => encode_bytes(&text).to_ascii_lowercase().into_bytes(),
            // Cut in the midst of an escape.
            10 => {
                let mut encoded = encode_bytes(&text).into_bytes();
                encoded.pop();
                encoded
            }
            // As it is, but for what would end the pair, or what no address may hold.
            _ => {
                let ends = |byte: u8| byte.is_ascii_control() || b" &#\"<>".contains(&byte);
                text.into_iter().filter(|byte| !ends(*byte)).collect()
            }
        };
        Short(encoded.repeat(times))
    })
}

fn odd() -> impl Strategy<Value = Odd> {
    (sent(text()), sent(words(NUMBERS)), sent(document()), sent(words(ENTRIES)))
        .prop_map(|(text, number, document, entry)| Odd { text, number, document, entry })
}

fn change() -> impl Strategy<Value = Change> {
    let which = any::<Index>;
    prop_oneof![
        2 => which().prop_map(Change::Remove),
        1 => Just(Change::RemoveAll),
        16 => (which(), odd(), proptest::bool::weighted(0.7)).prop_map(|(at, odd, fits)| Change::Set(at, odd, fits)),
        2 => (which(), odd()).prop_map(|(at, odd)| Change::Repeat(at, odd)),
        1 => (sent(text()), sent(text())).prop_map(|(name, value)| Change::AddOdd(name, value)),
    ]
}

fn header() -> impl Strategy<Value = (&'static str, Short)> {
    // What no header may hold ends the connection before all is sent, and is another test's business.
    let text = text().prop_map(|(text, times)| {
        let good: Vec<u8> = text.into_iter().filter(|byte| !byte.is_ascii_control()).collect();
        Short(good.repeat(times.min(1025)))
    });
    let agents =
        select(vec![AGENT, "Nacos-Go-Client:v", "Nacos-C-Client:v1.x.99999999999", "Nacos-Server", "Nacos-DNS:v9"]);
    let kinds = select(vec![
        "",
        "application/x-www-form-urlencoded;charset=GBK",
        "multipart/form-data",
        "multipart/form-data; boundary=cut",
        "application/json",
        "text/plain;charset=x",
    ]);
    let known =
        select(vec!["User-Agent", "Client-Version", "X-Forwarded-For", "X-Real-IP", "Accept-Charset", "Origin"]);
    prop_oneof![
        3 => (known, text),
        3 => agents.prop_map(|agent| ("User-Agent", Short(agent.as_bytes().to_vec()))),
        2 => kinds.prop_map(|kind| ("Content-Type", Short(kind.as_bytes().to_vec()))),
    ]
}

fn body() -> impl Strategy<Value = (&'static str, Short)> {
    let whole = |(text, times): Repeated| text.repeat(times);
    prop_oneof![
        document().prop_map(move |text| ("application/json", Short(whole(text)))),
        text().prop_map(move |text| ("application/octet-stream", Short(whole(text)))),
        (text(), text()).prop_map(move |(name, text)| {
            let mut body = b"--cut\r\nContent-Disposition: form-data; name=\"".to_vec();
            body.extend_from_slice(&whole(name));
            body.extend_from_slice(b"\"\r\n\r\n");
            body.extend_from_slice(&whole(text));
            body.extend_from_slice(b"\r\n--cut--\r\n");
            ("multipart/form-data; boundary=cut", Short(body))
        }),
    ]
}

pub(crate) fn case(routes: Vec<Target>) -> impl Strategy<Value = Case> {
    let odd_method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"]);
    // Those that read nothing have little that can be wrong; those that take every method are many.
    let weighed = |target: Target| {
        let every = target.path.contains("statuses") || target.path.contains("names") || target.path.contains("state");
        let times = match read_by(&target).len() {
            0 | 1 => 1,
            _ if every => 1,
            2..=4 => 3,
            _ => 6,
        };
        vec![target; times]
    };
    let routes: Vec<Target> = routes.into_iter().flat_map(weighed).collect();
    (
        select(routes),
        proptest::option::weighted(0.05, odd_method),
        prop_oneof![30 => Just(""), 1 => select(vec!["/", "//", "/x", ";a=b", "%2f", "/../instance", ".json"])],
        proptest::collection::vec(change(), 0..4),
        any::<bool>(),
        proptest::collection::vec(header(), 0..3),
        proptest::option::weighted(0.05, body()),
    )
        .prop_map(|(target, method, tail, changes, in_form, headers, body)| Case {
            target,
            method,
            tail,
            changes,
            in_form,
            headers,
            body,
        })
}

impl Case {
    pub(crate) fn request(&self) -> Request {
        let reads = read_by(&self.target);
        let named = |at: &Index| if reads.is_empty() { "any" } else { *at.get(&reads) };
        let mut parameters: Vec<(bool, Vec<u8>, Vec<u8>)> = good_parameters(&self.target)
            .into_iter()
            .map(|(name, value)| (self.in_form, name.as_bytes().to_vec(), encode(&value).into_bytes()))
            .collect();
        for change in &self.changes {
            match change {
                Change::Remove(at) => parameters.retain(|(_, name, _)| name != named(at).as_bytes()),
                Change::RemoveAll => parameters.clear(),
                Change::Set(at, odd, fitting) => {
                    let name = named(at);
                    parameters.retain(|(_, known, _)| known != name.as_bytes());
                    parameters.push((self.in_form, name.as_bytes().to_vec(), odd.of(name, *fitting).0.clone()));
                }
                Change::Repeat(at, odd) => {
                    let name = named(at);
                    parameters.push((!self.in_form, name.as_bytes().to_vec(), odd.of(name, true).0.clone()));
                }
                Change::AddOdd(name, value) => parameters.push((self.in_form, name.0.clone(), value.0.clone())),
            }
        }
        let mut path = format!("{}{}", self.target.path, self.tail);
        parameters.retain(|(_, name, value)| {
            let in_path = name.starts_with(b"{");
            if in_path {
                // A path ends where the query begins, and bytes of no text are no path.
                let short: String = encode(&String::from_utf8_lossy(value)).chars().take(30_000).collect();
                path = path.replace(std::str::from_utf8(name).unwrap(), &short.replace("%25", "%"));
            }
            !in_path
        });
        let mut request = Request::new(self.method.unwrap_or(self.target.method), &path);
        let mut room = BODY_MAX;
        for (in_form, name, value) in &parameters {
            let length = name.len() + value.len();
            // What is too long for the head of a request is another test's business; it goes into the form.
            let in_form = self.body.is_none() && (*in_form || length > 10_000);
            if !in_form && length > 10_000 || length > room {
                continue;
            }
            room -= length;
            request = request.raw_parameter(in_form, name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, &value.0);
        }
        match &self.body {
            Some((kind, body)) => request.body(kind, body.0.clone()),
            None => request,
        }
    }
}
