//! What a configuration is: its content's MD5, its type, the row as it is stored.
//!
//! Plain data; everything else in this crate is built on it.

use std::{fmt, sync::Arc};

use md5::{Digest, Md5 as Hasher};
use nacos_core::key::ConfigKey;

/// The MD5 of a stored content's bytes. Clients compare it; it is no protection against anyone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5([u8; 16]);

impl Md5 {
    /// The MD5 of these bytes.
    pub fn of(content: &[u8]) -> Self {
        Self(Hasher::digest(content).into())
    }

    /// The 16 bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The MD5 of these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads 32 lower-case hexadecimal digits; `None` for anything else. Clients compare texts, so a text in
    /// capitals is a different one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = digit(digits[2 * i])? << 4 | digit(digits[2 * i + 1])?;
        }
        Some(Self(bytes))
    }

    /// The 32 lower-case digits, without an allocation.
    pub fn hex(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 32];
        for (i, byte) in self.0.iter().enumerate() {
            out[2 * i] = DIGITS[usize::from(byte >> 4)];
            out[2 * i + 1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The declared type of a content. Decides the `Content-Type` of the answer and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConfigType {
    /// Java properties.
    Properties,
    /// XML.
    Xml,
    /// JSON.
    Json,
    /// Plain text; what an unknown type becomes.
    #[default]
    Text,
    /// HTML.
    Html,
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// Explicitly none.
    Unset,
}

impl ConfigType {
    const ALL: [(ConfigType, &'static str); 8] = [
        (ConfigType::Properties, "properties"),
        (ConfigType::Xml, "xml"),
        (ConfigType::Json, "json"),
        (ConfigType::Text, "text"),
        (ConfigType::Html, "html"),
        (ConfigType::Yaml, "yaml"),
        (ConfigType::Toml, "toml"),
        (ConfigType::Unset, "unset"),
    ];

    /// The type of this name, as a publish names it; anything unknown is text (Nacos `ConfigType.isValidType`).
    pub fn parse(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(ConfigType::Text, |(kind, _)| *kind)
    }

    /// The type that a file name's extension tells (Nacos `FileTypeEnum`, used by imports without metadata).
    pub fn of_file_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
            Some("yml" | "yaml") => ConfigType::Yaml,
            Some("htm" | "html") => ConfigType::Html,
            Some("txt" | "toml" | "unset") | None => ConfigType::Text,
            Some(extension) => Self::parse(extension),
        }
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("text", |(_, name)| *name)
    }

    /// The `Content-Type` of an answer that bears such a content.
    pub fn content_type(self) -> &'static str {
        match self {
            ConfigType::Json => "application/json;charset=UTF-8",
            ConfigType::Xml => "application/xml;charset=UTF-8",
            ConfigType::Html => "text/html;charset=UTF-8",
            _ => "text/plain;charset=UTF-8",
        }
    }
}

/// Which of a key's contents is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// The one that all clients get.
    Formal,
    /// The one that clients at listed addresses get.
    Beta,
    /// The one that clients with this tag get.
    Tag(Arc<str>),
}

/// One stored content with what the cache must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The content, as it is stored (a `cipher-` content is cipher text).
    pub content: Arc<str>,
    /// Its MD5.
    pub md5: Md5,
    /// When it was written, in milliseconds since 1970.
    pub last_modified: i64,
    /// The key that clients decrypt it with; tag rows have none.
    pub encrypted_data_key: Option<Arc<str>>,
    /// The declared type; of the formal content only.
    pub config_type: ConfigType,
    /// The addresses that get it; of the beta content only.
    pub beta_ips: Arc<[Box<str>]>,
}

/// What a publish writes.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The key.
    pub key: ConfigKey,
    /// The content.
    pub content: Arc<str>,
    /// The application; `None` keeps the stored one.
    pub app_name: Option<String>,
    /// Who writes.
    pub src_user: Option<String>,
    /// From where.
    pub src_ip: String,
    /// Tags for search, replacing all others; `None` keeps those stored.
    pub config_tags: Option<Vec<String>>,
    /// A description.
    pub desc: Option<String>,
    /// What for.
    pub usage: Option<String>,
    /// To what effect.
    pub effect: Option<String>,
    /// The type's name, already one that [`ConfigType::parse`] knows.
    pub config_type: ConfigType,
    /// A schema of the content.
    pub schema: Option<String>,
    /// The key with which the content is encrypted, if a client did so.
    pub encrypted_data_key: Option<String>,
}

/// Splits a comma list as clients send it, without blanks around the items and without empty ones.
pub fn comma_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_prints_and_reads() {
        let md5 = Md5::of(b"one");
        assert_eq!(md5.to_string(), "f97c5d29941bfb1b2fdab0874906ab82");
        assert_eq!(Md5::parse("f97c5d29941bfb1b2fdab0874906ab82"), Some(md5));
        assert_eq!(Md5::parse("F97C5D29941BFB1B2FDAB0874906AB82"), None);
        assert_eq!(Md5::parse(""), None);
    }

    #[test]
    fn unknown_types_are_text() {
        assert_eq!(ConfigType::parse("toml"), ConfigType::Toml);
        assert_eq!(ConfigType::parse("nosuch"), ConfigType::Text);
        assert_eq!(ConfigType::of_file_name("a.b.YML"), ConfigType::Yaml);
        assert_eq!(ConfigType::of_file_name("a"), ConfigType::Text);
    }
}
