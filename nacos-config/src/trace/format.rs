//! From records to lines, field by field as Nacos has them.

use std::fmt::{self, Display, Write};

use jiff::tz::TimeZone;
use nacos_core::key::ConfigKey;

use super::{
    file::Log,
    queue::Entry,
    record::{
        App, Channel, DumpOutcome, DumpRecord, Event, NotifyOutcome, NotifyRecord, PersistKind, PersistRecord,
        PollingChange, PollingKind, PollingRecord, PullOutcome, PullRecord, RequestOp, RequestRecord, TracePart,
    },
    stamp::Stamp,
};
use crate::model::Md5;

/// Makes lines of records.
pub(super) struct Formatter {
    self_ip: String,
    stamp: Stamp,
    line: String,
}

impl Formatter {
    pub(super) fn new(self_ip: &str, zone: TimeZone) -> Self {
        Self { self_ip: Safe(self_ip).to_string(), stamp: Stamp::new(zone), line: String::new() }
    }

    /// Calls `write` with each line of a record and the file that it belongs to. A line has its line break.
    pub(super) fn lines(&mut self, entry: &Entry, mut write: impl FnMut(Log, &str)) {
        let Self { self_ip, stamp, line } = self;
        let (second, milli) = stamp.at(entry.at_ms);
        let mut lines = Lines { self_ip, second, milli, line, write: &mut write };
        match &entry.event {
            Event::Pull(record) => lines.pull(record),
            Event::Persist(record) => lines.persist(record),
            Event::Notify(record) => lines.notify(record),
            Event::Dump(record) => lines.dump(record),
            Event::Request(record) => lines.request(record),
            Event::Polling(record) => lines.polling(record),
            Event::Memory { client_count } => {
                lines.message(Log::Memory, "INFO", format_args!("[long-pulling] client count {client_count}"));
            }
        }
    }
}

struct Lines<'a> {
    self_ip: &'a str,
    second: &'a str,
    milli: u16,
    line: &'a mut String,
    write: &'a mut dyn FnMut(Log, &str),
}

impl Lines<'_> {
    fn pull(&mut self, record: &PullRecord) {
        let PullRecord { key, part, client_ip, notify, .. } = record;
        let client_ip = Safe(client_ip);
        let app = Or(record.app.name().map(Safe), "null");
        let event = Named("pull", part);
        let modified = record.last_modified_ms.unwrap_or(-1);
        let outcome = match record.outcome {
            PullOutcome::Ok => "ok",
            PullOutcome::NotFound => "not-found",
            PullOutcome::Conflict => "conflict",
            PullOutcome::Error => "error",
        };
        let delay = if *notify { record.delay_ms.max(0) } else { record.delay_ms };
        let channel = match record.channel {
            Channel::Http => "http",
            Channel::Grpc => "grpc",
        };
        let self_ip = self.self_ip;
        self.dated(
            Log::Trace,
            format_args!(
                "{self_ip}|{}|{app}|{modified}|{event}|{outcome}|{delay}|{client_ip}|{notify}|{channel}",
                Fields(key, "null"),
            ),
        );

        if let (PullOutcome::Ok, Some(md5)) = (record.outcome, record.md5) {
            let second = self.second;
            let md5 = Md5::from_bytes(md5);
            self.plain(Log::PullCheck, format_args!("{}|{client_ip}|{md5}|{second}", GroupKey(key)));
        }

        let result = match (record.channel, record.outcome) {
            (Channel::Http, PullOutcome::Error) => "false",
            // The method behind it answers nothing in Java.
            (Channel::Http, _) => "null",
            (Channel::Grpc, PullOutcome::Ok) => "200",
            (Channel::Grpc, PullOutcome::NotFound) => "300",
            (Channel::Grpc, PullOutcome::Conflict) => "400",
            (Channel::Grpc, PullOutcome::Error) => "500",
        };
        let cost = record.cost_ms;
        let md5 = Or(record.md5.map(Md5::from_bytes), "");
        self.dated(Log::ClientRequest, format_args!("{cost}|{result}|{client_ip}|get|{}|{md5}|{app}", Fields(key, "")));
    }

    fn persist(&mut self, record: &PersistRecord) {
        let kind = match record.kind {
            PersistKind::Publish => "pub",
            PersistKind::Remove => "remove",
            PersistKind::Merge => "merge",
        };
        let event = Changed {
            key: &record.key,
            app: Some(&record.app),
            time_ms: record.time_ms,
            handle_ip: &Safe(&record.handle_ip),
            event: Named("persist", &record.part),
        };
        let md5 = Or(record.md5.map(Md5::from_bytes), "null");
        let self_ip = self.self_ip;
        self.dated(Log::Trace, format_args!("{self_ip}|{event}|{kind}|-1|{md5}"));
    }

    fn notify(&mut self, record: &NotifyRecord) {
        let outcome = match record.outcome {
            NotifyOutcome::Ok => "ok",
            NotifyOutcome::Error => "error",
            NotifyOutcome::Unhealthy => "unhealth",
            NotifyOutcome::Exception => "exception",
        };
        let self_ip = self.self_ip;
        let event = Changed {
            key: &record.key,
            app: None,
            time_ms: record.last_modified_ms,
            handle_ip: &self_ip,
            event: Named("notify", &record.part),
        };
        let (delay, target) = (record.delay_ms.max(0), Safe(&record.target));
        self.dated(Log::Trace, format_args!("{self_ip}|{event}|{outcome}|{delay}|{target}"));

        if matches!(record.outcome, NotifyOutcome::Error | NotifyOutcome::Exception) {
            let (data_id, group, time) = (record.key.data_id(), record.key.group(), record.last_modified_ms);
            let (data_id, group) = (Safe(data_id), Safe(group));
            self.message(
                Log::Notify,
                "ERROR",
                format_args!("[notify-retry] target:{target} dataId:{data_id} group:{group} ts:{time}"),
            );
        }
    }

    fn dump(&mut self, record: &DumpRecord) {
        let (outcome, free, ending, level) = match record.outcome {
            DumpOutcome::Ok => ("ok", "dump", "ok", "INFO"),
            DumpOutcome::RemoveOk => ("remove-ok", "remove", "ok", "INFO"),
            DumpOutcome::Error => ("error", "dump", "error", "ERROR"),
        };
        let event = Changed {
            key: &record.key,
            app: None,
            time_ms: record.last_modified_ms,
            handle_ip: &Or(record.handle_ip.as_ref().map(Safe), "null"),
            event: Named("dump", &record.part),
        };
        let (delay, length, self_ip) = (record.delay_ms.max(0), record.length, self.self_ip);
        self.dated(Log::Trace, format_args!("{self_ip}|{event}|{outcome}|{delay}|{length}"));

        let part = match &record.part {
            TracePart::Formal => "",
            TracePart::Beta => "-beta",
            TracePart::Tag(_) => "-tag",
        };
        let key = GroupKey(&record.key);
        let tag = Tag(&record.part);
        let time = record.last_modified_ms;
        self.message(
            Log::Dump,
            level,
            format_args!("[{free}{part}-{ending}] groupKey={key}{tag}, lastModified={time}, length={length}"),
        );
    }

    fn request(&mut self, record: &RequestRecord) {
        let result = match record.ok {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        };
        let op = match record.op {
            RequestOp::Publish => "publish",
            RequestOp::Remove => "remove",
        };
        let (cost, client_ip, key) = (record.cost_ms, Safe(&record.client_ip), Fields(&record.key, ""));
        let md5 = Or(record.md5.map(Md5::from_bytes), "null");
        let app = Or(record.app.name().map(Safe), "null");
        self.dated(Log::ClientRequest, format_args!("{cost}|{result}|{client_ip}|{op}|{key}|{md5}|{app}"));
    }

    fn polling(&mut self, record: &PollingRecord) {
        let kind = match record.kind {
            PollingKind::Instant => "instant",
            PollingKind::NoHangup => "nohangup",
            PollingKind::Timeout => "timeout",
            PollingKind::InAdvance => "in-advance",
            PollingKind::Fix => "fix",
        };
        let PollingRecord { cost_ms, keys, request_size, .. } = record;
        let client_ip = Safe(&record.client_ip);
        let changed = Changes(&record.changed);
        self.dated(
            Log::ClientRequest,
            format_args!("{cost_ms}|{kind}|{client_ip}|polling|{keys}|{request_size}{changed}"),
        );
    }

    /// Pattern `%date|%msg%n`.
    fn dated(&mut self, log: Log, text: fmt::Arguments<'_>) {
        let (second, milli) = (self.second, self.milli);
        self.plain(log, format_args!("{second},{milli:03}|{text}"));
    }

    /// Pattern `%date %level %msg%n%n`.
    fn message(&mut self, log: Log, level: &str, text: fmt::Arguments<'_>) {
        let (second, milli) = (self.second, self.milli);
        self.plain(log, format_args!("{second},{milli:03} {level} {text}\n"));
    }

    /// Pattern `%msg%n`.
    fn plain(&mut self, log: Log, text: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a text cannot fail.
        let _ = writeln!(self.line, "{text}");
        (self.write)(log, self.line);
    }
}

/// The fields which the lines of a change share, from the dataId to the event's name.
struct Changed<'a> {
    key: &'a ConfigKey,
    app: Option<&'a App>,
    time_ms: i64,
    handle_ip: &'a dyn Display,
    event: Named<'a>,
}

impl Display for Changed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, time_ms, handle_ip, event, .. } = self;
        let app = Or(self.app.and_then(App::name).map(Safe), "null");
        write!(f, "{}|{app}|{time_ms}|{handle_ip}|{event}", Fields(key, "null"))
    }
}

/// dataId, group and namespace; with what is written for the public one.
struct Fields<'a>(&'a ConfigKey, &'static str);

impl Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, public) = self;
        let namespace = if key.namespace().trim().is_empty() { public } else { key.namespace() };
        write!(f, "{}|{}|{}", Safe(key.data_id()), Safe(key.group()), Safe(namespace))
    }
}

/// A key as `dataId+group+namespace`.
struct GroupKey<'a>(&'a ConfigKey);

impl Display for GroupKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Safe(self.0).fmt(f)
    }
}

/// An event's name with its ending for the part.
struct Named<'a>(&'static str, &'a TracePart);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        match self.1 {
            TracePart::Formal => Ok(()),
            TracePart::Beta => f.write_str("-beta"),
            TracePart::Tag(tag) => write!(f, "-tag-{}", Safe(tag)),
        }
    }
}

/// The field that names the tag in a free text.
struct Tag<'a>(&'a TracePart);

impl Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            TracePart::Tag(tag) => write!(f, ", tag={}", Safe(tag)),
            _ => Ok(()),
        }
    }
}

/// The last field of a polling line, if it has one.
struct Changes<'a>(&'a PollingChange);

impl Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PollingChange::Count(count) => write!(f, "|{count}"),
            PollingChange::Key(key) => write!(f, "|{}", GroupKey(key)),
            PollingChange::None => Ok(()),
        }
    }
}

/// A value, or this text.
struct Or<T>(Option<T>, &'static str);

impl<T: Display> Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(self.1),
        }
    }
}

/// A value that cannot break out of its field: see the header of [`super`].
#[derive(Clone, Copy)]
struct Safe<T>(T);

impl<T: Display> Display for Safe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(breaks_out) {
            let (plain, tail) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = tail.chars();
            match chars.next() {
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some('\\') => self.0.write_str("\\\\")?,
                Some(c) => write!(self.0, "\\u{:04x}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Ends a line or a field for someone who reads the log: tools differ in what they take for the end of a line.
fn breaks_out(c: char) -> bool {
    matches!(c, '|' | '\\' | '\u{2028}' | '\u{2029}') || c.is_control()
}
