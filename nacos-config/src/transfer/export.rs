//! Rows to archives.

use std::{borrow::Cow, io};

use super::{ExportItem, METADATA_V1, METADATA_V2, archive, metadata};

/// Packs rows in the old layout, which keeps contents and applications (Nacos `ConfigController.exportConfig`).
///
/// An application's name with `=`, `|` or a line's end in it makes an archive that no import takes, as in Nacos.
///
/// # Errors
/// Two rows with one key, or a name of more than 65,535 bytes. Neither can be stored.
pub fn export_v1(items: &[ExportItem]) -> io::Result<Vec<u8>> {
    let mut app_names = String::new();
    for item in items {
        let app_name = item.app_name.as_deref().unwrap_or_default();
        if !app_name.trim().is_empty() {
            app_names.push_str(&app_name_key(&item.group, &item.data_id));
            app_names.push('=');
            app_names.push_str(app_name);
            app_names.push_str("\r\n");
        }
    }
    let metadata = (!app_names.is_empty()).then_some((METADATA_V1.to_owned(), &*app_names));
    archive::pack(files(items).chain(metadata))
}

/// Packs rows in the V2 layout, which keeps contents, applications, types and descriptions (Nacos
/// `ConfigController.exportConfigV2`). The metadata entry is there even without rows.
///
/// # Errors
/// As [`export_v1`].
pub fn export_v2(items: &[ExportItem]) -> io::Result<Vec<u8>> {
    let text = metadata::write(items);
    archive::pack(files(items).chain([(METADATA_V2.to_owned(), &*text)]))
}

fn files(items: &[ExportItem]) -> impl Iterator<Item = (String, &str)> {
    items.iter().map(|item| (format!("{}/{}", item.group, item.data_id), &*item.content))
}

/// The key of an application's name in the old layout's metadata: `GROUP.a~yaml.app` for `a.yaml`.
pub(super) fn app_name_key(group: &str, data_id: &str) -> String {
    let data_id: Cow<'_, str> = match data_id.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}~{extension}").into(),
        None => data_id.into(),
    };
    format!("{group}.{data_id}.app")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dot_of_a_data_id_is_written_as_a_tilde() {
        assert_eq!(app_name_key("G.1", "a.b.yaml"), "G.1.a.b~yaml.app");
        assert_eq!(app_name_key("G", "a~b"), "G.a~b.app");
        assert_eq!(app_name_key("G", "a."), "G.a~.app");
    }
}
