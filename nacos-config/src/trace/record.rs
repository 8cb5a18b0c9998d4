//! What is recorded: plain data, small and cheap to build, for formatting happens elsewhere.

use std::{fmt, net::Ipv4Addr, sync::Arc};

use nacos_core::key::ConfigKey;

use crate::model::Part;

/// Application names and addresses, which come from headers, are cut after this many bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// The name of the client's application, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App(Option<Box<str>>);

impl App {
    /// The name.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl From<&str> for App {
    /// Blank and `unknown` stand for none, which Nacos writes as `null`.
    fn from(name: &str) -> Self {
        let none = name.trim().is_empty() || name.eq_ignore_ascii_case("unknown");
        Self(if none { None } else { Some(cut(name).into()) })
    }
}

/// An address, as text: of a client, of this server, or of a member with its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The usual kind, without an allocation.
    V4(Ipv4Addr),
    /// Any other, as it came.
    Text(Box<str>),
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(ip) => Self::V4(ip),
            Err(_) => Self::Text(cut(text).into()),
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Which content of a key an event is about; it stands behind the event's name (`pull`, `pull-beta`, `pull-tag-T`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracePart {
    /// The one for all.
    Formal,
    /// The one for listed addresses.
    Beta,
    /// The one for a tag.
    Tag(Arc<str>),
}

impl From<&Part> for TracePart {
    fn from(part: &Part) -> Self {
        match part {
            Part::Formal => Self::Formal,
            Part::Beta => Self::Beta,
            Part::Tag(tag) => Self::Tag(tag.clone()),
        }
    }
}

/// The way that a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullOutcome {
    /// With a content.
    Ok,
    /// There is none.
    NotFound,
    /// It was just being changed.
    Conflict,
    /// It could not be read.
    Error,
}

/// A client read a configuration.
#[derive(Debug, Clone)]
pub struct PullRecord {
    /// What was asked for.
    pub key: ConfigKey,
    /// The client's application.
    pub app: App,
    /// When the content was last changed; `None` if there is none.
    pub last_modified_ms: Option<i64>,
    /// Which content was chosen.
    pub part: TracePart,
    /// How it ended.
    pub outcome: PullOutcome,
    /// Time from the change to this pull; -1 if that says nothing (no content, or `notify`).
    pub delay_ms: i64,
    /// The client.
    pub client_ip: Address,
    /// Whether the client asks because it was told of a change. A negative delay is then written as 0, as Nacos
    /// does.
    pub notify: bool,
    /// The MD5 of the content that was sent.
    pub md5: Option<[u8; 16]>,
    /// Time that the answer took.
    pub cost_ms: u64,
    /// HTTP or gRPC.
    pub channel: Channel,
}

/// What was done in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistKind {
    /// A content was written.
    Publish,
    /// A content was removed.
    Remove,
    /// Parts were merged into a content.
    Merge,
}

/// A configuration was written or removed in the store.
#[derive(Debug, Clone)]
pub struct PersistRecord {
    /// The key.
    pub key: ConfigKey,
    /// The client's application.
    pub app: App,
    /// The time that was stored with it.
    pub time_ms: i64,
    /// Who did it: this server, or the client of a removal.
    pub handle_ip: Address,
    /// Which of the key's contents.
    pub part: TracePart,
    /// What was done.
    pub kind: PersistKind,
    /// The MD5 of the content written.
    pub md5: Option<[u8; 16]>,
}

/// How telling a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyOutcome {
    /// It knows.
    Ok,
    /// It refused.
    Error,
    /// It is not healthy, so it was not told yet.
    Unhealthy,
    /// It could not be reached.
    Exception,
}

/// A member was told of a change, or was not.
#[derive(Debug, Clone)]
pub struct NotifyRecord {
    /// The key.
    pub key: ConfigKey,
    /// Which of the key's contents.
    pub part: TracePart,
    /// How it ended.
    pub outcome: NotifyOutcome,
    /// When the content was changed.
    pub last_modified_ms: i64,
    /// Time since then; a negative one is written as 0.
    pub delay_ms: i64,
    /// The member, `ip:port`.
    pub target: Address,
}

/// How a dump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpOutcome {
    /// The content is in the cache.
    Ok,
    /// The content is gone from the cache.
    RemoveOk,
    /// It failed.
    Error,
}

/// A change was taken over into cache and disk copies.
#[derive(Debug, Clone)]
pub struct DumpRecord {
    /// The key.
    pub key: ConfigKey,
    /// Which of the key's contents.
    pub part: TracePart,
    /// How it ended.
    pub outcome: DumpOutcome,
    /// Who made the change, if known.
    pub handle_ip: Option<Address>,
    /// When the content was changed.
    pub last_modified_ms: i64,
    /// Time since then; a negative one is written as 0.
    pub delay_ms: i64,
    /// The content's length in bytes (Nacos counts UTF-16 units).
    pub length: u64,
}

/// What a client asked for, beside reading and polling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOp {
    /// To publish.
    Publish,
    /// To remove.
    Remove,
}

/// A client's publish or removal was answered.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Time that it took.
    pub cost_ms: u64,
    /// Whether it was done; `None` is written as `null`.
    pub ok: Option<bool>,
    /// The client.
    pub client_ip: Address,
    /// What it asked for.
    pub op: RequestOp,
    /// The key.
    pub key: ConfigKey,
    /// The MD5 of the content sent.
    pub md5: Option<[u8; 16]>,
    /// The client's application.
    pub app: App,
}

/// What ended a long poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollingKind {
    /// Something had changed already.
    Instant,
    /// Nothing had changed, and the client does not wait.
    NoHangup,
    /// The end of its time.
    Timeout,
    /// A change.
    InAdvance,
    /// The end of a fixed time.
    Fix,
}

/// What a long poll was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollingChange {
    /// So many keys.
    Count(u64),
    /// This key.
    Key(ConfigKey),
    /// Nothing; the field is left out.
    None,
}

/// A long poll was answered.
#[derive(Debug, Clone)]
pub struct PollingRecord {
    /// Time since it came; for a change, time since that.
    pub cost_ms: u64,
    /// What ended it.
    pub kind: PollingKind,
    /// The client.
    pub client_ip: Address,
    /// How many keys it asked about.
    pub keys: u64,
    /// The size of its list in bytes.
    pub request_size: u64,
    /// What it was told.
    pub changed: PollingChange,
}

/// Anything that is recorded.
#[derive(Debug)]
pub(super) enum Event {
    Pull(PullRecord),
    Persist(PersistRecord),
    Notify(NotifyRecord),
    Dump(DumpRecord),
    Request(RequestRecord),
    Polling(PollingRecord),
    Memory { client_count: u64 },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}
