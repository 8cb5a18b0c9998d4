//! Copies of all contents on disk, readable when the database is not.
//!
//! Owns the folder `config-data`. One file a key, named by a hash: keys are data and never become paths. A file is
//! a line of JSON that says what follows, then the contents one after another. It is written aside and renamed, but
//! not synced: it is a copy, its MD5s are checked when it is read, and what is missing is written again at the
//! next start.

use std::{
    collections::HashSet,
    io::{self, BufRead, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use md5::{Digest, Md5 as Hasher};
use nacos_core::key::ConfigKey;
use serde::{Deserialize, Serialize};

use crate::model::{ConfigType, Md5, Part, Stored};

/// The first line of a copy; version 1.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    v: u32,
    data_id: String,
    group: String,
    namespace: String,
    parts: Vec<PartHead>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartHead {
    /// `formal`, `beta` or `tag`.
    part: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    md5: String,
    len: u64,
    modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encrypted_data_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_type: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beta_ips: Vec<String>,
}

/// A head of more bytes than this is none of ours.
const HEAD_MAX: u64 = 1 << 20;

/// The folder of copies. All its methods block; call them off the async threads.
#[derive(Debug, Clone)]
pub struct DiskCopies {
    folder: PathBuf,
}

impl DiskCopies {
    /// Copies in this folder, which is created if need be.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        // Contents may be secrets: nobody else on the machine has business here, as with the database.
        #[cfg(unix)]
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        for n in 0..=255u8 {
            std::fs::create_dir_all(folder.join(format!("{n:02x}")))?;
        }
        Ok(Self { folder })
    }

    fn path(&self, key: &ConfigKey) -> PathBuf {
        let mut hasher = Hasher::new();
        for part in [key.namespace(), key.group(), key.data_id()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let name = Md5::from_bytes(hasher.finalize().into()).to_string();
        self.folder.join(&name[..2]).join(&name[2..])
    }

    /// Writes a key's contents; none removes its copy.
    pub fn write(&self, key: &ConfigKey, parts: &[(Part, Stored)]) -> io::Result<()> {
        let path = self.path(key);
        if parts.is_empty() {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
        }
        let head = Head {
            v: 1,
            data_id: key.data_id().to_owned(),
            group: key.group().to_owned(),
            namespace: key.namespace().to_owned(),
            parts: parts.iter().map(|(part, stored)| part_head(part, stored)).collect(),
        };
        let aside = path.with_extension("new");
        let file = match std::fs::File::create(&aside) {
            // Somebody cleared the folder: it is ours to make again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                aside.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::File::create(&aside)
            }
            other => other,
        };
        let mut file = io::BufWriter::new(file?);
        serde_json::to_writer(&mut file, &head)?;
        file.write_all(b"\n")?;
        for (_, stored) in parts {
            file.write_all(stored.content.as_bytes())?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(aside, path)
    }

    /// A content of a key, if the copy has it and it is whole.
    pub fn read(&self, key: &ConfigKey, md5: Md5) -> Option<Bytes> {
        let (_, parts) = self.read_all(&self.path(key)).ok().flatten()?;
        let (_, stored) = parts.into_iter().find(|(_, stored)| stored.md5 == md5)?;
        Some(Bytes::copy_from_slice(stored.content.as_bytes()))
    }

    /// Whether the copy of a key says that it holds exactly these contents. Reads its first line only.
    pub fn is_current(&self, key: &ConfigKey, parts: &[(Part, Md5)]) -> bool {
        let Ok(file) = std::fs::File::open(self.path(key)) else { return false };
        let Ok(Some(head)) = read_head(&mut io::BufReader::new(file)) else { return false };
        head.parts.len() == parts.len()
            && parts
                .iter()
                .zip(&head.parts)
                .all(|((part, md5), head)| head.md5 == md5.to_string() && part_of(head).as_ref() == Some(part))
    }

    /// Every whole copy in the folder, handed over one by one. Damaged ones are passed over and counted.
    pub fn each(&self, mut visit: impl FnMut(ConfigKey, Vec<(Part, Stored)>)) -> io::Result<usize> {
        let mut damaged = 0;
        for entry in self.files()? {
            match self.read_all(&entry) {
                Ok(Some((key, parts))) => visit(key, parts),
                Ok(None) | Err(_) => damaged += 1,
            }
        }
        Ok(damaged)
    }

    /// Removes the copies of all other keys than these.
    pub fn keep_only(&self, keys: &[ConfigKey]) -> io::Result<usize> {
        let keep: HashSet<PathBuf> = keys.iter().map(|key| self.path(key)).collect();
        let mut removed = 0;
        for path in self.files()? {
            if !keep.contains(&path) {
                std::fs::remove_file(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in std::fs::read_dir(&self.folder)? {
            let folder = folder?.path();
            if folder.is_dir() {
                for file in std::fs::read_dir(folder)? {
                    files.push(file?.path());
                }
            }
        }
        Ok(files)
    }

    fn read_all(&self, path: &Path) -> io::Result<Option<Whole>> {
        let mut file = io::BufReader::new(std::fs::File::open(path)?);
        let Some(head) = read_head(&mut file)? else { return Ok(None) };
        let mut parts = Vec::new();
        for part_head in &head.parts {
            let mut content = Vec::new();
            (&mut file).take(part_head.len).read_to_end(&mut content)?;
            let (Ok(content), Some(part), Some(md5)) =
                (String::from_utf8(content), part_of(part_head), Md5::parse(&part_head.md5))
            else {
                return Ok(None);
            };
            if Md5::of(content.as_bytes()) != md5 {
                return Ok(None);
            }
            let stored = Stored {
                content: content.into(),
                md5,
                last_modified: part_head.modified,
                encrypted_data_key: part_head.encrypted_data_key.as_deref().map(Arc::from),
                config_type: part_head.config_type.as_deref().map(ConfigType::parse).unwrap_or_default(),
                beta_ips: part_head.beta_ips.iter().map(|ip| ip.as_str().into()).collect(),
            };
            parts.push((part, stored));
        }
        Ok(Some((ConfigKey::new(&head.data_id, &head.group, &head.namespace), parts)))
    }
}

/// What a copy that is not damaged holds.
type Whole = (ConfigKey, Vec<(Part, Stored)>);

fn part_head(part: &Part, stored: &Stored) -> PartHead {
    let (name, tag) = match part {
        Part::Formal => ("formal", None),
        Part::Beta => ("beta", None),
        Part::Tag(tag) => ("tag", Some(tag.to_string())),
    };
    PartHead {
        part: name.to_owned(),
        tag,
        md5: stored.md5.to_string(),
        len: stored.content.len() as u64,
        modified: stored.last_modified,
        encrypted_data_key: stored.encrypted_data_key.as_deref().map(str::to_owned),
        config_type: matches!(part, Part::Formal).then(|| stored.config_type.as_str().to_owned()),
        beta_ips: stored.beta_ips.iter().map(|ip| ip.to_string()).collect(),
    }
}

fn part_of(head: &PartHead) -> Option<Part> {
    match (head.part.as_str(), &head.tag) {
        ("formal", None) => Some(Part::Formal),
        ("beta", None) => Some(Part::Beta),
        ("tag", Some(tag)) => Some(Part::Tag(tag.as_str().into())),
        _ => None,
    }
}

fn read_head(file: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = Vec::new();
    file.take(HEAD_MAX).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice::<Head>(&line).ok().filter(|head| head.v == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(content: &str) -> Stored {
        Stored {
            content: content.into(),
            md5: Md5::of(content.as_bytes()),
            last_modified: 5,
            encrypted_data_key: Some("k".into()),
            config_type: ConfigType::Yaml,
            beta_ips: Arc::new([]),
        }
    }

    #[test]
    fn copies_round_trip_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskCopies::open(folder.path()).unwrap();
        let key = ConfigKey::new("../../etc/passwd", "g\n", "中");
        let beta = Stored { beta_ips: ["1.2.3.4".into()].into(), config_type: ConfigType::Text, ..stored("beta\n\n") };
        let tag = Stored { config_type: ConfigType::Text, encrypted_data_key: None, ..stored("") };
        let parts = vec![(Part::Formal, stored("a: 1\n")), (Part::Beta, beta), (Part::Tag("t".into()), tag)];
        disk.write(&key, &parts).unwrap();
        let mut seen = Vec::new();
        assert_eq!(disk.each(|key, parts| seen.push((key, parts))).unwrap(), 0);
        assert_eq!(seen, [(key.clone(), parts.clone())]);
        assert_eq!(disk.read(&key, Md5::of(b"a: 1\n")).unwrap(), "a: 1\n");
        let md5s: Vec<(Part, Md5)> = parts.iter().map(|(part, stored)| (part.clone(), stored.md5)).collect();
        assert!(disk.is_current(&key, &md5s));
        assert!(!disk.is_current(&key, &md5s[..2]));

        let path = disk.path(&key);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            // A cut within the tag's empty content cannot happen; anything shorter must be noticed.
            assert_eq!(disk.each(|_, parts| panic!("served {parts:?}")).unwrap(), 1, "cut at {cut}");
            assert_eq!(disk.read(&key, Md5::of(b"a: 1\n")), None);
        }
        disk.write(&key, &[]).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn copies_of_other_keys_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskCopies::open(folder.path()).unwrap();
        let keys: Vec<ConfigKey> = (0..5).map(|n| ConfigKey::new(&format!("d{n}"), "g", "")).collect();
        for key in &keys {
            disk.write(key, &[(Part::Formal, stored("x"))]).unwrap();
        }
        assert_eq!(disk.keep_only(&keys[..2]).unwrap(), 3);
        assert!(disk.read(&keys[0], Md5::of(b"x")).is_some());
        assert!(disk.read(&keys[4], Md5::of(b"x")).is_none());
    }
}
