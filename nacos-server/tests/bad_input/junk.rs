//! What can be wrong with a request, as strategies.

use proptest::{
    prelude::*,
    sample::{Index, select},
};

use crate::{
    good::{archive, good_body, good_parameters, multipart, read_by},
    support::{Request, encode, http::encode_bytes},
    world::Target,
};

/// Texts that somebody might take for something.
const WORDS: &str = "¦ ¦   ¦\t¦\r\n¦\0¦a\0b¦\u{1}¦d\u{2}g\u{2}m\u{1}¦\u{2}¦\u{1}\u{1}¦\u{7f}¦null¦public¦true¦false¦undefined¦%¦%%¦%00\
    ¦%zz¦%2¦+¦++¦*¦**¦_¦\\¦'¦\"¦' OR 1=1 --¦\"; DROP TABLE config_info; --¦?¦?1¦a.b¦a/b¦../../etc/passwd¦..\\..\\x¦a:b\
    ¦<script>alert(1)</script>¦${jndi:ldap://127.0.0.1/x}¦{{7*7}}¦中文¦é¦e\u{301}¦ǅ¦\u{202e}x¦\u{feff}¦\u{fffd}¦🦀¦\u{10ffff}\
    ¦١٢٣¦１¦²¦,¦,,,¦a,,b¦one¦one,two¦d1¦d2¦d1,d2¦DEFAULT_GROUP¦ns1¦t1¦content¦aggregated.x¦aggregated.¦yaml¦json¦ABORT¦SKIP\
    ¦OVERWRITE¦abort¦accurate¦blur¦all¦ids¦127.0.0.1¦::1¦999.999.999.999¦127.0.0.1,1.1.1.1¦imported¦d1+DEFAULT_GROUP¦fresh\
    ¦name@¦name";

/// Numbers at the ends of their kinds and beyond, and what only looks like one.
const NUMBERS: &str = "0¦-0¦1¦-1¦+1¦01¦1.5¦1e3¦1e400¦NaN¦Infinity¦0x10¦ 7 ¦500¦501¦1000000¦2147483647¦2147483648¦-2147483648\
    ¦-2147483649¦4294967296¦9223372036854775807¦9223372036854775808¦-9223372036854775808¦18446744073709551615\
    ¦99999999999999999999999999";

/// Parameters that are numbers.
const NUMERIC: [&str; 10] =
    ["pageNo", "pageSize", "id", "nid", "ids", "sampleTime", "quota", "maxSize", "maxAggrCount", "maxAggrSize"];

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
    /// To the number, if the parameter is one and the flag is set; else to the text.
    Set(Index, Short, Short, bool),
    /// Comes a second time, in the query and in the form.
    Repeat(Index, Short),
    /// One that other routes read.
    Add(&'static str, Short),
    AddOdd(Short, Short),
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

/// Values, not yet encoded.
fn value(ids: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let words = select(WORDS.split('¦').collect::<Vec<_>>());
    let long = (
        select(vec!["x", "中", "*", ",", "1,", "a,", "%", "\0", " ", "🦀"]),
        select(vec![17, 65, 129, 257, 1025, 33_000]),
    );
    // Only a form may be so large; some lists are, and some patterns.
    let huge = (select(vec!["x", "*", "a,", "1,", "%"]), select(vec![60_000, 400_000]));
    prop_oneof![
        6 => words.prop_map(|text| text.as_bytes().to_vec()),
        4 => number(),
        3 => select(ids).prop_map(String::into_bytes),
        3 => long.prop_map(|(text, times)| text.repeat(times).into_bytes()),
        1 => huge.prop_map(|(text, times)| text.repeat(times / text.len()).into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => "\\PC{0,30}".prop_map(String::into_bytes),
    ]
}

/// Numbers, and what looks like some.
fn number() -> impl Strategy<Value = Vec<u8>> {
    select(NUMBERS.split('¦').collect::<Vec<_>>()).prop_map(|text| text.as_bytes().to_vec())
}

/// The same, encoded well or badly.
fn sent(ids: Vec<String>) -> impl Strategy<Value = Short> {
    (value(ids), 0..10_u8).prop_map(|(value, how)| {
        Short(match how {
            0..=6 => encode_bytes(&value).into_bytes(),
            7 => encode_bytes(&value).to_ascii_lowercase().into_bytes(),
            // Cut in the midst of an escape.
            8 => {
                let mut text = encode_bytes(&value).into_bytes();
                text.pop();
                text
            }
            // As it is, but for what would end the line of the request or the pair.
            _ => value.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'&' | b' ' | b'#')).collect(),
        })
    })
}

fn change(ids: Vec<String>) -> impl Strategy<Value = Change> {
    let which = any::<Index>;
    let value = || sent(ids.clone());
    let number = number().prop_map(|number| Short(encode_bytes(&number).into_bytes()));
    let others =
        select(vec!["beta", "search", "show", "delType", "tag", "tenant", "namespaceId", "username", "pageNo", ""]);
    prop_oneof![
        2 => which().prop_map(Change::Remove),
        1 => Just(Change::RemoveAll),
        14 => (which(), value(), number, proptest::bool::weighted(0.7)).prop_map(|(at, text, number, is_number)| {
            Change::Set(at, text, number, is_number)
        }),
        2 => (which(), value()).prop_map(|(at, value)| Change::Repeat(at, value)),
        1 => (others, value()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => (value(), value()).prop_map(|(name, value)| Change::AddOdd(name, value)),
    ]
}

fn header(ids: Vec<String>) -> impl Strategy<Value = (&'static str, Short)> {
    let known = select(vec![
        "casMd5",
        "betaIps",
        "X-Forwarded-For",
        "X-Real-IP",
        "Client-AppName",
        "Client-Version",
        "Vipserver-Tag",
        "Notify",
        "Long-Pulling-Timeout-No-Hangup",
        "User-Agent",
        "Origin",
        "Accept",
        "Accept-Encoding",
        "Accept-Charset",
        "Range",
        "If-Modified-Since",
        "If-None-Match",
        "Cookie",
        "Authorization",
        "X-HTTP-Method-Override",
        "X-Odd",
        "Upgrade",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
        "Content-Encoding",
    ]);
    // What a header may hold; the rest would be a head that cannot be parsed, which is another test's business.
    let text = value(ids).prop_map(|value| {
        value.into_iter().filter(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f).take(40_000).collect()
    });
    let text = text.prop_map(Short);
    // A poll of a positive time would be held for it.
    let time = select(vec!["", "0", "-1", "x", "1.5", "-9223372036854775808", "99999999999999999999", "1 1"]);
    let kind = select(vec![
        "",
        "x",
        "application/x-www-form-urlencoded;charset=GBK",
        "APPLICATION/X-WWW-FORM-URLENCODED",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=cut",
        "application/json",
        "text/plain;charset=x",
    ]);
    prop_oneof![
        6 => (known, text),
        2 => time.prop_map(|time| ("Long-Pulling-Timeout", Short(time.as_bytes().to_vec()))),
        2 => kind.prop_map(|kind| ("Content-Type", Short(kind.as_bytes().to_vec()))),
    ]
}

fn body(ids: Vec<String>) -> impl Strategy<Value = (&'static str, Short)> {
    let json = |text: String| ("application/json", Short(text.into_bytes()));
    let nested = (select(vec!["[", "{\"a\":", "[{\"cfgId\":"]), select(vec![1, 10, 127, 200, 100_000]));
    let part = (value(ids.clone()), value(ids.clone())).prop_map(|(head, file)| {
        let mut body = b"--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"".to_vec();
        body.extend_from_slice(&head);
        body.extend_from_slice(b"\"\r\n\r\n");
        body.extend_from_slice(&file);
        body.extend_from_slice(b"\r\n--cut--\r\n");
        ("multipart/form-data; boundary=cut", Short(body))
    });
    // A good archive with a byte turned, or cut off.
    let broken = (any::<Index>(), any::<u8>(), any::<bool>()).prop_map(|(at, byte, cut)| {
        let mut file = archive();
        let at = at.index(file.len());
        if cut {
            file.truncate(at)
        } else {
            file[at] = byte
        }
        ("multipart/form-data; boundary=cut", Short(multipart(&file)))
    });
    let clone = (value(ids.clone()), value(ids.clone()), value(ids)).prop_map(move |(id, data_id, group)| {
        let text = |value: Vec<u8>| serde_json::to_string(&String::from_utf8_lossy(&value)).unwrap();
        json(format!("[null,{{\"cfgId\":{},\"dataId\":{},\"group\":{}}}]", text(id), text(data_id), text(group)))
    });
    let lists =
        select(vec!["", "[]", "[null]", "{}", "null", "1", "\"\"", "[{}]", "[{\"cfgId\":1.5}]", "[{\"cfgId\":null}]"]);
    prop_oneof![
        2 => (proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|bytes| ("application/octet-stream", Short(bytes))),
        2 => part,
        4 => broken,
        1 => nested.prop_map(move |(text, times)| json(text.repeat(times))),
        1 => lists.prop_map(move |text| json(text.to_owned())),
        4 => clone,
    ]
}

pub(crate) fn case(routes: Vec<Target>, ids: Vec<String>) -> impl Strategy<Value = Case> {
    let odd_method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"]);
    // Those that read nothing have little that can be wrong.
    let weighed = |target: Target| vec![target.clone(); if read_by(&target).is_empty() { 1 } else { 5 }];
    let routes: Vec<Target> = routes.into_iter().flat_map(weighed).collect();
    (
        select(routes),
        proptest::option::weighted(0.05, odd_method),
        prop_oneof![20 => Just(""), 1 => select(vec!["/", "//", "/x", ";a=b", "%2f", "/../configs", ".json"])],
        proptest::collection::vec(change(ids.clone()), 0..4),
        any::<bool>(),
        proptest::collection::vec(header(ids.clone()), 0..3),
        proptest::option::weighted(0.1, body(ids)),
    )
        .prop_map(|(target, method, tail, changes, in_form, headers, body)| {
            let own = good_body(&target).map(|(kind, body)| (kind, Short(body)));
            // A route that reads a body gets one, good or bad.
            let body = body.or(own);
            Case { target, method, tail, changes, in_form, headers, body }
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
                Change::Set(at, text, number, is_number) => {
                    let name = named(at);
                    let value = if *is_number && NUMERIC.contains(&name) { number } else { text };
                    parameters.retain(|(_, known, _)| known != name.as_bytes());
                    parameters.push((self.in_form, name.as_bytes().to_vec(), value.0.clone()));
                }
                Change::Repeat(at, value) => {
                    parameters.push((!self.in_form, named(at).as_bytes().to_vec(), value.0.clone()));
                }
                Change::Add(name, value) => {
                    parameters.push((self.in_form, name.as_bytes().to_vec(), value.0.clone()));
                }
                Change::AddOdd(name, value) => parameters.push((self.in_form, name.0.clone(), value.0.clone())),
            }
        }
        let mut request =
            Request::new(self.method.unwrap_or(self.target.method), &format!("{}{}", self.target.path, self.tail));
        for (in_form, name, value) in &parameters {
            // What is too long for the head of a request is another test's business; it goes into the form.
            let in_form = self.body.is_none() && (*in_form || value.len() > 40_000);
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
