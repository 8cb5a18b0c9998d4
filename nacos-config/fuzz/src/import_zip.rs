//! `nacos_config::transfer`: the archive of an import. An input that begins like a zip archive is one; any other is
//! the recipe of one, so that a fuzzer gets past the check sums: entries end with 0x1e, name and content are parted
//! by 0x1f.

use std::collections::{HashMap, HashSet};

use nacos_config::transfer::{ExportItem, ImportError, ImportItem, Imported, Limits, export_v1, export_v2, parse};
use rawzip::{ZipArchiveWriter, path::EntryPath};

/// Small enough that an input can run into each.
const LIMITS: Limits = Limits {
    entries_max: 64,
    entry_bytes_max: 2048,
    total_bytes_max: 8192,
    metadata_bytes_max: 4096,
    ratio_max: 20,
    ratio_free_bytes: 4096,
};

/// Limits hold and change nothing but whether there is an answer; what is read can be exported and read again.
pub fn run(data: &[u8]) {
    let recipe;
    let archive = if data.starts_with(b"PK") {
        data
    } else {
        recipe = packed(data);
        &recipe
    };
    match parse(archive, &LIMITS) {
        Ok(imported) => {
            bounded(&imported);
            let unlimited = parse(archive, &Limits::default()).ok();
            assert_eq!(unlimited.as_ref(), Some(&imported), "limits change what is read");
            round_trips(&imported.items);
        }
        Err(error) => {
            let code = match &error {
                ImportError::Metadata { .. } => 100_002,
                ImportError::Empty => 100_005,
                _ => 100_004,
            };
            assert_eq!(error.code(), code);
        }
    }
}

fn packed(recipe: &[u8]) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for entry in recipe.split(|byte| *byte == 0x1e).filter(|entry| !entry.is_empty()) {
        let mut halves = entry.splitn(2, |byte| *byte == 0x1f);
        let name = halves.next().unwrap_or_default();
        let content = halves.next().unwrap_or_default();
        let (mut entry, config) =
            archive.new_file(EntryPath::verbatim(name)).start().expect("an entry fits into memory");
        let mut writer = config.wrap(&mut entry);
        std::io::Write::write_all(&mut writer, content).expect("memory takes it");
        let (_, descriptor) = writer.finish().expect("memory takes it");
        entry.finish(descriptor).expect("memory takes it");
    }
    archive.finish().expect("memory takes it")
}

fn bounded(imported: &Imported) {
    let Imported { items, unrecognised } = imported;
    assert!(!items.is_empty());
    assert!(items.len() <= LIMITS.entries_max);
    assert!(unrecognised.len() <= 2 * LIMITS.entries_max);
    // Contents that rows share are one: a small text must not stand for a large one.
    let distinct: HashMap<*const u8, usize> =
        items.iter().map(|item| (item.content.as_ptr(), item.content.len())).collect();
    assert!(distinct.values().all(|len| *len as u64 <= 3 * LIMITS.entry_bytes_max));
    assert!(distinct.values().map(|len| *len as u64).sum::<u64>() <= LIMITS.total_bytes_max);
    for item in items {
        assert!(!item.config_type.trim().is_empty());
        assert!(!item.group.contains('/') && !item.data_id.contains('/'));
    }
}

fn round_trips(items: &[ImportItem]) {
    let mut keys = HashSet::new();
    let kept: Vec<ImportItem> = items
        .iter()
        .filter(|item| !item.group.trim().is_empty() && !item.data_id.trim().is_empty())
        .filter(|item| keys.insert((&item.group, &item.data_id)))
        .map(|item| ImportItem { app_name: Some(item.app_name.clone().unwrap_or_default()), ..item.clone() })
        .collect();
    if kept.is_empty() {
        return;
    }
    let exported: Vec<ExportItem> = kept
        .iter()
        .cloned()
        .map(|item| ExportItem {
            group: item.group,
            data_id: item.data_id,
            content: item.content,
            app_name: item.app_name,
            config_type: Some(item.config_type),
            desc: item.desc,
        })
        .collect();
    let all = Limits::default();
    let v2 = parse(&export_v2(&exported).expect("keys are unique"), &all).expect("own archives are read");
    assert_eq!(v2, Imported { items: kept.clone(), unrecognised: Vec::new() });

    let bare: Vec<ExportItem> = exported.into_iter().map(|item| ExportItem { app_name: None, ..item }).collect();
    let v1 = parse(&export_v1(&bare).expect("keys are unique"), &all).expect("own archives are read");
    let contents = |items: &[ImportItem]| -> Vec<(String, String, String)> {
        items.iter().map(|item| (item.group.clone(), item.data_id.clone(), item.content.to_string())).collect()
    };
    assert_eq!((contents(&v1.items), v1.unrecognised), (contents(&kept), Vec::new()));
}
