//! Reading one configuration as a client does: from the cache, without SQL.

use std::sync::Arc;

use bytes::Bytes;
use nacos_core::{key::KeyParts, storage::StorageError};

use crate::{
    cache::{ConfigCache, Variant},
    dump::Dump,
    model::{ConfigType, Part},
};

/// A content that moves while it is read is looked up again this often.
const TRIES: usize = 5;

/// What a client gets.
#[derive(Debug)]
pub enum Found {
    /// The key is not known.
    Nothing,
    /// The key is known, but has no content for this client (a tag that does not exist, say).
    NoContent(ConfigType),
    /// A content.
    Content {
        /// The declared type of the key.
        config_type: ConfigType,
        /// Which of the key's contents it is.
        part: Part,
        /// Its MD5 and the like.
        variant: Variant,
        /// The bytes, as stored.
        content: Bytes,
    },
    /// The content is known but cannot be read now: neither memory nor disk nor the store has it.
    Unreadable(StorageError),
}

/// Which content a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The key.
    pub key: KeyParts<'a>,
    /// The client's address, for beta.
    pub client_ip: &'a str,
    /// A tag asked for explicitly: this content or none.
    pub tag: Option<&'a str>,
    /// The client's own tag: this content if there is one, else the formal one.
    pub own_tag: Option<&'a str>,
}

/// Reads configurations. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    cache: Arc<ConfigCache>,
    dump: Arc<Dump>,
}

impl Reader {
    /// A reader of this cache, which asks this dump for contents that are not in memory.
    pub fn new(cache: Arc<ConfigCache>, dump: Arc<Dump>) -> Self {
        Self { cache, dump }
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<ConfigCache> {
        &self.cache
    }

    /// What the client gets if the content is in memory, without waiting; `None` if it must be fetched by
    /// [`Self::read`].
    pub fn read_now(&self, asked: Asked<'_>) -> Option<Found> {
        match self.choose(asked) {
            Err(found) => Some(found),
            Ok((config_type, part, variant)) => {
                let content = self.cache.content(&variant)?;
                Some(Found::Content { config_type, part, variant, content })
            }
        }
    }

    /// What the client gets.
    pub async fn read(&self, asked: Asked<'_>) -> Found {
        for _ in 0..TRIES {
            let (config_type, part, variant) = match self.choose(asked) {
                Err(found) => return found,
                Ok(chosen) => chosen,
            };
            let key = asked.key.to_key();
            if let Some((variant, content)) = self.dump.content(&key, &part, variant).await {
                return Found::Content { config_type, part, variant, content };
            }
        }
        Found::Unreadable(StorageError::Unavailable("content in no place".to_owned()))
    }

    fn choose(&self, asked: Asked<'_>) -> Result<(ConfigType, Part, Variant), Found> {
        let item = self.cache.get(asked.key).ok_or(Found::Nothing)?;
        let is_beta = item.beta.as_ref().is_some_and(|(_, ips)| ips.iter().any(|ip| &**ip == asked.client_ip));
        let chosen = match asked.tag {
            Some(tag) if !is_beta => item.tag(tag).map(|(tag, variant)| (Part::Tag(tag.clone()), variant)),
            _ => item.choose(asked.client_ip, asked.own_tag),
        };
        match chosen {
            Some((part, variant)) => Ok((item.config_type, part, variant.clone())),
            None => Err(Found::NoContent(item.config_type)),
        }
    }
}
