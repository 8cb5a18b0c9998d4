//! Archives to rows.

use std::{collections::HashMap, sync::Arc};

use super::{
    ImportError, ImportItem, Imported, Limits, METADATA_V2,
    archive::{self, Entry},
    export::app_name_key,
    metadata,
};
use crate::model::ConfigType;

/// Reads an archive of either layout (Nacos `ConfigController.importAndPublishConfig` up to the first write).
///
/// Takes time and memory in proportion to what is unpacked, within `limits`: not for a thread that serves others.
///
/// # Errors
/// - [`ImportError::Empty`]: no archive, an archive without entries, or none of its entries is a configuration.
/// - [`ImportError::Metadata`]: a metadata entry that cannot be understood, or a V2 row without dataId, group or type.
/// - All others: the archive is damaged, or larger than `limits`.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Imported, ImportError> {
    let unpacked = archive::unpack(bytes, limits)?;
    let imported = match &unpacked.metadata {
        Some(entry) if entry.name == METADATA_V2 => v2(&entry.text, &unpacked.files, limits)?,
        Some(entry) => v1(&app_names(&entry.text, limits)?, unpacked.files),
        None => v1(&HashMap::new(), unpacked.files),
    };
    if imported.items.is_empty() { Err(ImportError::Empty) } else { Ok(imported) }
}

fn v1(app_names: &HashMap<String, String>, files: Vec<Entry>) -> Imported {
    let mut items = Vec::with_capacity(files.len());
    let mut unrecognised = Vec::new();
    for Entry { name, text } in files {
        let Some((group, data_id)) = two_parts(&name, '/') else {
            unrecognised.push(name);
            continue;
        };
        items.push(ImportItem {
            group: group.to_owned(),
            data_id: data_id.to_owned(),
            content: text,
            app_name: app_names.get(&app_name_key(group, data_id)).cloned(),
            config_type: ConfigType::of_file_name(data_id).as_str().to_owned(),
            desc: None,
        });
    }
    Imported { items, unrecognised }
}

/// Reads `.meta.yml`, which is no YAML: `key=value` items, each ended by line ends or a `|`.
fn app_names(text: &str, limits: &Limits) -> Result<HashMap<String, String>, ImportError> {
    let mut flat = String::with_capacity(text.len());
    let mut in_line_end = false;
    for c in text.chars() {
        let is_line_end = matches!(c, '\r' | '\n');
        if !is_line_end {
            flat.push(c);
        } else if !in_line_end {
            flat.push('|');
        }
        in_line_end = is_line_end;
    }
    let mut app_names = HashMap::new();
    let lines = flat.trim_end_matches('|');
    // An empty text is one empty item to Java's split, bare separators are none.
    if lines.is_empty() && !flat.is_empty() {
        return Ok(app_names);
    }
    for line in lines.split('|') {
        let Some((key, app_name)) = two_parts(line, '=') else {
            return Err(ImportError::Metadata { reason: format!("{line:?} is not of the form key=value") });
        };
        app_names.insert(key.to_owned(), app_name.to_owned());
        if app_names.len() > limits.entries_max {
            return Err(ImportError::TooLarge { what: "rows of metadata", max: limits.entries_max as u64 });
        }
    }
    Ok(app_names)
}

fn v2(metadata: &str, files: &[Entry], limits: &Limits) -> Result<Imported, ImportError> {
    let rows = metadata::read(metadata, limits.entries_max)?;
    let mut contents: HashMap<(&str, &str), Option<&Arc<str>>> =
        rows.iter().map(|row| ((&*row.group, &*row.data_id), None)).collect();
    let mut unrecognised = Vec::new();
    for file in files {
        match two_parts(&file.name, '/').map(|key| contents.get_mut(&key)) {
            Some(Some(content)) => *content = Some(&file.text),
            Some(None) => unrecognised.push(format!("未在元数据中找到: {}", file.name)),
            None => unrecognised.push(file.name.clone()),
        }
    }
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        match contents.get(&(&*row.group, &*row.data_id)).copied().flatten() {
            Some(content) => items.push(ImportItem {
                group: row.group.clone(),
                data_id: row.data_id.clone(),
                content: Arc::clone(content),
                app_name: row.app_name.clone(),
                config_type: row.config_type.clone(),
                desc: row.desc.clone(),
            }),
            None => unrecognised.push(format!("未在文件中找到: {}/{}", row.group, row.data_id)),
        }
    }
    Ok(Imported { items, unrecognised })
}

/// The two parts of a text that Java's `split` cuts in exactly two: it drops empty parts at the end, and only there.
fn two_parts(text: &str, separator: char) -> Option<(&str, &str)> {
    let (first, second) = text.trim_end_matches(separator).split_once(separator)?;
    (!second.contains(separator)).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's `text.split(separator)` gives, said in another way.
    fn java_split(text: &str, separator: char) -> Vec<&str> {
        let mut parts: Vec<&str> = text.split(separator).collect();
        while parts.len() > 1 && parts.last() == Some(&"") {
            parts.pop();
        }
        parts
    }

    #[test]
    fn two_parts_are_what_java_splits_in_two() {
        for text in ["", "a", "a/b", "/b", "a/", "/", "//", "a//", "a/b/", "a/b//", "//b", "a//b", "a/b/c", "/a/"] {
            let parts = java_split(text, '/');
            let expected = if let [first, second] = parts[..] { Some((first, second)) } else { None };
            assert_eq!(two_parts(text, '/'), expected, "{text:?}");
        }
    }

    #[test]
    fn application_names_are_read_as_java_reads_them() {
        let read = |text: &str| app_names(text, &Limits::default());
        let names = |text: &str| {
            let mut names: Vec<_> = read(text).unwrap().into_iter().collect();
            names.sort();
            names.into_iter().map(|(key, app)| format!("{key}={app}")).collect::<Vec<_>>()
        };
        assert_eq!(names("g.a~yaml.app=app1\r\ng.b.app=2\n\n\r"), ["g.a~yaml.app=app1", "g.b.app=2"]);
        assert_eq!(names("a=1|b=2||"), ["a=1", "b=2"]);
        assert_eq!(names("a=1\na=2"), ["a=2"], "the last one counts");
        assert_eq!(names("a= =="), ["a= "]);
        assert_eq!(names("=x"), ["=x"]);
        assert!(names("\r\n").is_empty() && names("|").is_empty());
        for bad in ["", "a", "a=", "=", "a=b=c", "\na=1", "a=1\n|b=2", "nonsense\r\n"] {
            assert_eq!(read(bad).unwrap_err().code(), 100_002, "{bad:?}");
        }
        let few = Limits { entries_max: 2, ..Limits::default() };
        assert_eq!(app_names("a=1\nb=1\na=2", &few).unwrap().len(), 2);
        assert!(matches!(app_names("a=1\nb=1\nc=2", &few), Err(ImportError::TooLarge { max: 2, .. })));
    }
}
