//! Packing and bounded unpacking of zip archives.
//!
//! Read with `rawzip` and not with `zip`, which keys entries by their names and so loses the first of two alike,
//! and which reads the whole directory before the first limit can be checked.

use std::{
    io::{self, Cursor, Read, Write},
    sync::Arc,
};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{ImportError, Limits, METADATA_V1, METADATA_V2};

/// What every archive with an entry begins with. Java's reader finds nothing in other files, empty archives among
/// them, and so do we.
const ENTRY_SIGNATURE: &[u8] = b"PK\x03\x04";

/// One file of an archive; bytes that are no UTF-8 have become U+FFFD.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) text: Arc<str>,
}

/// The files of an archive in its order, without the one that bears the metadata.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) metadata: Option<Entry>,
    pub(super) files: Vec<Entry>,
}

/// Packs these files, deflated, in this order. No time is recorded, so equal files make equal archives.
pub(super) fn pack<'a>(files: impl IntoIterator<Item = (String, &'a str)>) -> io::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, text) in files {
        writer.start_file(name, options)?;
        writer.write_all(text.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}

/// Unpacks all files, whatever they are called: of two with one name both are there. Directories are passed over.
pub(super) fn unpack(bytes: &[u8], limits: &Limits) -> Result<Unpacked, ImportError> {
    let mut unpacked = Unpacked::default();
    if !bytes.starts_with(ENTRY_SIGNATURE) {
        return Ok(unpacked);
    }
    let archive = ZipArchive::from_slice(bytes)?;
    let mut budget = Budget::new(bytes.len(), limits);
    for (index, record) in archive.entries().enumerate() {
        let record = record?;
        if index == limits.entries_max {
            return Err(ImportError::TooLarge { what: "entries", max: limits.entries_max as u64 });
        }
        let Ok(name) = std::str::from_utf8(record.file_path().as_bytes()) else {
            return Err(ImportError::Name { index });
        };
        if name.ends_with('/') {
            continue;
        }
        if record.flags().is_encrypted() {
            return Err(ImportError::Unsupported { name: name.to_owned(), what: "encrypted" });
        }
        let is_metadata = unpacked.metadata.is_none() && matches!(name, METADATA_V1 | METADATA_V2);
        let packed = archive.get_entry(record.wayfinder())?;
        let text = match record.compression_method() {
            CompressionMethod::STORE => budget.read(name, is_metadata, packed.verifying_reader(packed.data())),
            CompressionMethod::DEFLATE => {
                budget.read(name, is_metadata, packed.verifying_reader(DeflateDecoder::new(packed.data())))
            }
            _ => Err(ImportError::Unsupported { name: name.to_owned(), what: "packed by another method than deflate" }),
        }?;
        let entry = Entry { name: name.to_owned(), text: text.into() };
        if is_metadata {
            unpacked.metadata = Some(entry);
        } else {
            unpacked.files.push(entry);
        }
    }
    Ok(unpacked)
}

/// What may still be unpacked.
struct Budget<'a> {
    limits: &'a Limits,
    total_max: u64,
    taken: u64,
}

impl<'a> Budget<'a> {
    fn new(archive_bytes: usize, limits: &'a Limits) -> Self {
        let by_ratio = limits.ratio_max.saturating_mul(archive_bytes as u64).max(limits.ratio_free_bytes);
        Self { limits, total_max: limits.total_bytes_max.min(by_ratio), taken: 0 }
    }

    fn read(&mut self, name: &str, is_metadata: bool, file: impl Read) -> Result<String, ImportError> {
        let (what, max) = if is_metadata {
            ("bytes of metadata", self.limits.metadata_bytes_max)
        } else {
            ("bytes in one entry", self.limits.entry_bytes_max)
        };
        let left = self.total_max - self.taken;
        let mut bytes = Vec::new();
        file.take(max.min(left).saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| ImportError::Entry { name: name.to_owned(), source })?;
        if bytes.len() as u64 > max {
            return Err(ImportError::TooLarge { what, max });
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        // Counted after the decoding, which can make three bytes of one.
        if text.len() as u64 > left {
            return Err(ImportError::TooLarge { what: "unpacked bytes", max: self.total_max });
        }
        self.taken += text.len() as u64;
        Ok(text)
    }
}
