//! Export and import of configurations as zip archives, in both layouts of Nacos 2.4.3.
//!
//! Pure: rows in, bytes out, and back. It knows no storage, no HTTP and no file system: an entry's name is read as
//! `group/dataId` and never as a path. Callers filter and decrypt rows before an export, and check the target
//! namespace, validate keys, encrypt and write rows after an import; the HTTP handlers are the only ones.
//!
//! | layout | metadata entry | says |
//! |---|---|---|
//! | old (`export=true`) | `.meta.yml`, if some row has an application | `GROUP.a~yaml.app=app1` for `a.yaml` |
//! | V2 (`exportV2=true`) | `.metadata.yml`, always | application, description and type of every row |
//!
//! An import is read in the layout of the first metadata entry that the archive holds, in the old one if it holds
//! none. Mirrors Nacos 2.4.3 `ConfigController` (`exportConfig`, `exportConfigV2`, `parseImportData`,
//! `parseImportDataV2`), `ZipUtils` and `YamlParserUtil`, on purpose with these differences:
//! - A damaged, encrypted or oversized archive is refused whole with 100004. Nacos imports what stands before the
//!   damage and reports success.
//! - A `.metadata.yml` that is no YAML or has another shape is refused with 100002. Nacos answers 500.
//! - YAML aliases are refused: no exporter writes them, and they let a small text stand for a huge one.

mod archive;
mod export;
mod import;
mod metadata;
#[cfg(test)]
mod tests;
mod yaml_text;

use std::sync::Arc;

pub use export::{export_v1, export_v2};
pub use import::parse;

/// The metadata entry of the old layout.
const METADATA_V1: &str = ".meta.yml";
/// The metadata entry of the V2 layout.
const METADATA_V2: &str = ".metadata.yml";

/// One configuration to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportItem {
    /// The group.
    pub group: String,
    /// The dataId.
    pub data_id: String,
    /// The content, decrypted.
    pub content: Arc<str>,
    /// The application, if it has one.
    pub app_name: Option<String>,
    /// The type's name, if it is known. The old layout does not carry it.
    pub config_type: Option<String>,
    /// The description, if it has one. The old layout does not carry it.
    pub desc: Option<String>,
}

/// One configuration that an archive holds.
///
/// Nothing is checked but the archive: group and dataId may be empty or hold characters that a publish refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportItem {
    /// The group.
    pub group: String,
    /// The dataId.
    pub data_id: String,
    /// The content; bytes that are no UTF-8 have become U+FFFD.
    pub content: Arc<str>,
    /// The application. `Some("")` where the metadata says that there is none, `None` where they say nothing.
    pub app_name: Option<String>,
    /// The type's name: what the metadata say, in the old layout what the dataId's extension says. Never blank,
    /// but not necessarily one that Nacos knows.
    pub config_type: String,
    /// The description, as the application.
    pub desc: Option<String>,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The configurations; never empty. In the old layout in the archive's order, and twice where a key comes twice;
    /// in the V2 layout in the metadata's order, where of entries with one name the last counts.
    pub items: Vec<ImportItem>,
    /// Entries and metadata that match nothing, in the words of Nacos 2 (`unrecognizedData[].itemName`).
    pub unrecognised: Vec<String>,
}

/// How much an import may unpack. All are checked before the memory is taken, against what is really there: the
/// sizes that the archive claims for itself count for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the archive, and rows of its metadata.
    pub entries_max: usize,
    /// Unpacked bytes of one entry.
    pub entry_bytes_max: u64,
    /// Unpacked bytes of all entries together.
    pub total_bytes_max: u64,
    /// Unpacked bytes of the metadata entry.
    pub metadata_bytes_max: u64,
    /// Unpacked bytes per byte of the archive, beyond [`Limits::ratio_free_bytes`].
    pub ratio_max: u64,
    /// Unpacked bytes that any archive may have, whatever its ratio: one large configuration of blanks packs a
    /// thousandfold and is none the worse for it.
    pub ratio_free_bytes: u64,
}

impl Default for Limits {
    /// 10,000 entries; 40 MiB each, which is 10 Mi characters of the widest kind; 256 MiB in all; 12 MiB of metadata,
    /// which is more than the 3 Mi characters that Nacos reads; a ratio of 200 beyond 16 MiB.
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            entries_max: 10_000,
            entry_bytes_max: 40 * MIB,
            total_bytes_max: 256 * MIB,
            metadata_bytes_max: 12 * MIB,
            ratio_max: 200,
            ratio_free_bytes: 16 * MIB,
        }
    }
}

/// Why nothing can be imported. Whatever the variant, the archive is at fault: trying again does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The archive is damaged.
    #[error("read import archive")]
    Archive(#[from] rawzip::Error),
    /// The archive has an entry that is encrypted, or packed in a way that is not supported.
    #[error("import entry {name:?} is {what}")]
    Unsupported {
        /// The entry's name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// An entry cannot be unpacked.
    #[error("unpack import entry {name:?}")]
    Entry {
        /// The entry's name.
        name: String,
        /// What its bytes say.
        #[source]
        source: std::io::Error,
    },
    /// An entry's name is no UTF-8.
    #[error("name of import entry {index} is no UTF-8")]
    Name {
        /// Which entry, from 0.
        index: usize,
    },
    /// More than [`Limits`] allow.
    #[error("import has more than {max} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The metadata cannot be understood, or lack a row's dataId, group or type.
    #[error("import metadata: {reason}")]
    Metadata {
        /// What is wrong with them.
        reason: String,
    },
    /// There is no configuration in it, or it is no archive at all.
    #[error("import holds no configuration")]
    Empty,
}

impl ImportError {
    /// The code of the answer (Nacos `ResultCodeEnum`).
    pub fn code(&self) -> i32 {
        self.answer().0
    }

    /// The text of the answer in v1 (Nacos 2.4.3 `ResultCodeEnum`).
    pub fn message(&self) -> &'static str {
        self.answer().1
    }

    fn answer(&self) -> (i32, &'static str) {
        match self {
            Self::Metadata { .. } => (100_002, "导入的元数据非法"),
            Self::Archive(_)
            | Self::Unsupported { .. }
            | Self::Entry { .. }
            | Self::Name { .. }
            | Self::TooLarge { .. } => (100_004, "解析数据失败"),
            Self::Empty => (100_005, "导入的文件数据为空"),
        }
    }
}
