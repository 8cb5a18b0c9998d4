//! Zip archives: made for imports, read from exports.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _, Write as _},
};

use anyhow::Result;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// An archive of these entries, names and contents, in this order, deflated.
pub fn make(entries: &[(String, String)]) -> Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, text) in entries {
        writer.start_file(name.as_str(), options)?;
        writer.write_all(text.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}

/// Names and contents of an archive; what is not UTF-8 in a content is replaced.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let mut entries = BTreeMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        entries.insert(file.name().to_owned(), String::from_utf8_lossy(&content).into_owned());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_read() {
        let entry = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let entries = [entry("g/z", "é中\n"), entry("g/a", ""), entry(".meta.yml", &"x".repeat(10_000))];
        let bytes = make(&entries).unwrap();
        assert!(bytes.len() < 1_000, "deflated, not stored");
        assert_eq!(read(&bytes).unwrap(), BTreeMap::from(entries));
        // The order is that of the recording: an import stops at its first conflict.
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        let names: Vec<String> = (0..3).map(|i| archive.by_index(i).unwrap().name().to_owned()).collect();
        assert_eq!(names, ["g/z", "g/a", ".meta.yml"]);
    }

    #[test]
    fn an_empty_archive_is_one() {
        assert_eq!(read(&make(&[]).unwrap()).unwrap(), BTreeMap::new());
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        assert!(read(b"").is_err());
        assert!(read(b"PK\x03\x04 not quite").is_err());
        let mut bytes = make(&[("a".to_owned(), "text text text".to_owned())]).unwrap();
        bytes[35] ^= 0xff;
        assert!(read(&bytes).is_err(), "a damaged entry");
    }
}
