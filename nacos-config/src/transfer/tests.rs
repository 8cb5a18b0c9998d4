//! Both layouts from end to end: what was recorded of Nacos 2.4.3, round trips, and archives that mean harm.

use std::io::Write as _;

use proptest::prelude::*;
use rawzip::{CompressionMethod, ZipArchiveWriter, path::EntryPath};

use super::*;

/// An archive of any entries at all: names are bytes and may come twice.
struct Archive(ZipArchiveWriter<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(ZipArchiveWriter::new(Vec::new()))
    }

    fn with(mut self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let (mut entry, config) = self
            .0
            .new_file(EntryPath::verbatim(name.as_ref()))
            .compression_method(CompressionMethod::DEFLATE)
            .start()
            .unwrap();
        let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast());
        let mut writer = config.wrap(encoder);
        writer.write_all(content.as_ref()).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
        self
    }

    fn with_header(mut self, name: &str, method: CompressionMethod, encrypted: bool) -> Self {
        let (mut entry, config) =
            self.0.new_file(name).compression_method(method).encrypted(encrypted).start().unwrap();
        let (_, descriptor) = config.wrap(&mut entry).finish().unwrap();
        entry.finish(descriptor).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    entries.iter().fold(Archive::new(), |archive, (name, content)| archive.with(name, content)).bytes()
}

fn import(entries: &[(&str, &str)]) -> Result<Imported, ImportError> {
    parse(&archive(entries), &Limits::default())
}

/// Names and contents of an archive in its order.
fn entries(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    (0..archive.len())
        .map(|i| {
            let mut file = archive.by_index(i).unwrap();
            let text = std::io::read_to_string(&mut file).unwrap();
            (file.name().to_owned(), text)
        })
        .collect()
}

fn row(group: &str, data_id: &str, content: &str) -> ExportItem {
    ExportItem {
        group: group.into(),
        data_id: data_id.into(),
        content: content.into(),
        app_name: None,
        config_type: Some("text".into()),
        desc: None,
    }
}

/// One item as text: `group/dataId type app desc: content`.
fn shown(imported: &Imported) -> Vec<String> {
    let shown = |text: &Option<String>| text.as_ref().map_or("-".to_owned(), |text| format!("{text:?}"));
    imported
        .items
        .iter()
        .map(|item| {
            let ImportItem { group, data_id, content, app_name, config_type, desc } = item;
            format!("{group}/{data_id} {config_type} {} {}: {content}", shown(app_name), shown(desc))
        })
        .collect()
}

// === what was recorded (v1-config-import-export-clone of Nacos 2.4.3, v3-admin-config of 3.0.3) ===

#[test]
fn the_old_layout_is_written_as_recorded() {
    let mut with_app = row("g", "d1.properties", "a=1");
    with_app.app_name = Some("app1".into());
    let plain = row("g", "d2", "two");
    let expected = [("g/d1.properties", "a=1"), ("g/d2", "two"), (".meta.yml", "g.d1~properties.app=app1\r\n")];
    let written = entries(&export_v1(&[with_app, plain.clone()]).unwrap());
    assert_eq!(written, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert_eq!(entries(&export_v1(&[plain]).unwrap()), [("g/d2".to_owned(), "two".to_owned())]);
    assert_eq!(entries(&export_v1(&[]).unwrap()), []);
}

#[test]
fn the_v2_layout_is_written_as_recorded() {
    let mut first = row("g", "d1.yaml", "a: 1");
    (first.app_name, first.config_type, first.desc) = (Some("app1".into()), Some("yaml".into()), Some("dd".into()));
    let metadata = "metadata:\n- appName: app1\n  dataId: d1.yaml\n  desc: dd\n  group: g\n  type: yaml\n\
                    - appName: ''\n  dataId: d2\n  group: g\n  type: text\n";
    let expected = [("g/d1.yaml", "a: 1"), ("g/d2", "two"), (".metadata.yml", metadata)];
    let written = entries(&export_v2(&[first, row("g", "d2", "two")]).unwrap());
    assert_eq!(written, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let empty = entries(&export_v2(&[]).unwrap());
    assert_eq!(empty, [(".metadata.yml".to_owned(), "metadata: []\n".to_owned())]);
}

#[test]
fn imports_are_read_as_recorded() {
    let metadata = "metadata:\n- appName: app1\n  dataId: d1.yaml\n  desc: the desc\n  group: g\n  type: yaml\n";
    let imported = import(&[("g/d1.yaml", "a: 1"), (".metadata.yml", metadata)]).unwrap();
    assert_eq!(shown(&imported), [r#"g/d1.yaml yaml "app1" "the desc": a: 1"#]);
    assert!(imported.unrecognised.is_empty());

    let imported = import(&[("g/d1", "one"), ("top", "x"), ("a/b/c", "y")]).unwrap();
    assert_eq!(shown(&imported), ["g/d1 text - -: one"]);
    assert_eq!(imported.unrecognised, ["top", "a/b/c"]);

    let imported = import(&[("g/d0", "zero"), ("g/d1", "new"), ("g/d2", "two")]).unwrap();
    assert_eq!(shown(&imported), ["g/d0 text - -: zero", "g/d1 text - -: new", "g/d2 text - -: two"]);
}

#[test]
fn refusals_are_those_recorded() {
    let refused = [
        ("incomplete", import(&[("g/d1", "1"), (".metadata.yml", "metadata:\n- dataId: d1\n  group: g\n")])),
        ("no rows", import(&[("g/d1", "1"), (".metadata.yml", "metadata: []\n")])),
        ("nonsense", import(&[("g/d1", "one"), (".meta.yml", "nonsense\r\n")])),
    ];
    for (what, result) in refused {
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.message()), (100_002, "导入的元数据非法"), "{what}");
    }
}

// === what the source says beyond that ===

#[test]
fn v2_tells_what_is_missing_on_either_side() {
    // ConfigExportAndImportAPIConfigITCase.testImportV2MetadataNotFind and testImportV2ConfigIgnore.
    let metadata =
        "metadata:\n- dataId: notExist\n  group: G\n  type: yaml\n- dataId: t3.yml\n  group: G\n  type: yaml";
    let files = [("G/ignore.yml", "i"), ("odd", "o"), ("G/t3.yml", "3"), (".metadata.yml", metadata)];
    let imported = import(&files).unwrap();
    assert_eq!(shown(&imported), ["G/t3.yml yaml - -: 3"]);
    assert_eq!(imported.unrecognised, ["未在元数据中找到: G/ignore.yml", "odd", "未在文件中找到: G/notExist"]);
    let error = import(&[("G/other", "x"), (".metadata.yml", metadata)]).unwrap_err();
    assert_eq!((error.code(), error.message()), (100_005, "导入的文件数据为空"), "nothing of it can be imported");
}

#[test]
fn v2_items_come_in_the_metadatas_order_and_values_are_texts() {
    let metadata = "# by hand\nwhatever:\n- {dataId: b, group: g, type: 1, desc: null, appName: ~, extra: x}\n\
                    - dataId: 'a'\n  group: \"\\u0067\"\n  type: !!str yes\n  desc: |\n    two\n    lines\n  appName:\n\
                    more: [1, {a: b}]\n";
    let imported = import(&[("g/a", "A"), ("g/b", "B"), (".metadata.yml", metadata)]).unwrap();
    assert_eq!(shown(&imported), [r#"g/b 1 "~" "null": B"#, r#"g/a yes "" "two\nlines\n": A"#]);
}

#[test]
fn the_first_metadata_entry_decides_the_layout() {
    let v2 = "metadata:\n- {dataId: d, group: g, type: json}\n";
    let imported = import(&[(".metadata.yml", v2), (".meta.yml", "g.d.app=x\r\n"), ("g/d", "1")]).unwrap();
    assert_eq!(
        (shown(&imported), &imported.unrecognised[..]),
        (vec!["g/d json - -: 1".into()], &[".meta.yml".into()][..])
    );
    let imported = import(&[("g/d", "1"), (".meta.yml", "g.d.app=x\r\n"), (".metadata.yml", v2)]).unwrap();
    assert_eq!(shown(&imported), [r#"g/d text "x" -: 1"#]);
    assert_eq!(imported.unrecognised, [".metadata.yml"]);
}

#[test]
fn a_name_that_comes_twice_counts_as_in_nacos() {
    let imported = import(&[("g/d", "1"), ("g/e", "2"), ("g/d", "3")]).unwrap();
    assert_eq!(shown(&imported), ["g/d text - -: 1", "g/e text - -: 2", "g/d text - -: 3"], "each is one item");
    let v2 = "metadata:\n- {dataId: d, group: g, type: json}\n- {dataId: d, group: g, type: xml}\n";
    let imported = import(&[("g/d", "1"), ("g/d", "3"), (".metadata.yml", v2)]).unwrap();
    assert_eq!(shown(&imported), ["g/d json - -: 3", "g/d xml - -: 3"], "the last content for each row");
}

#[test]
fn the_old_layout_tells_types_by_extension() {
    let names = ["g/a.yml", "g/b.YAML", "g/c.json", "g/d.xml", "g/e.htm", "g/f.properties", "g/g.conf", "g/h"];
    let imported = import(&names.map(|name| (name, ""))).unwrap();
    let types: Vec<_> = imported.items.iter().map(|item| &*item.config_type).collect();
    assert_eq!(types, ["yaml", "yaml", "json", "xml", "html", "properties", "text", "text"]);
}

#[test]
fn names_are_keys_and_never_paths() {
    let odd = ["/etc", "../x", "g/..", "C:\\x/y", "g/a\0b", "g/", "g//d", ".", "g/中", ""];
    let imported = import(&odd.map(|name| (name, "1"))).unwrap();
    let keys: Vec<_> = imported.items.iter().map(|item| (&*item.group, &*item.data_id)).collect();
    assert_eq!(keys, [("", "etc"), ("..", "x"), ("g", ".."), ("C:\\x", "y"), ("g", "a\0b"), ("g", "中")]);
    assert_eq!(imported.unrecognised, ["g//d", ".", ""], "a directory is neither");
    let long = format!("g/{}", "x".repeat(65_000));
    assert_eq!(import(&[(&long, "1")]).unwrap().items[0].data_id.len(), 65_000);
}

#[test]
fn a_content_that_is_no_utf8_is_replaced_and_such_a_name_refused() {
    let bytes = Archive::new().with("g/d", b"a\xff\xe4\xb8z").bytes();
    assert_eq!(&*parse(&bytes, &Limits::default()).unwrap().items[0].content, "a\u{fffd}\u{fffd}z");
    let bytes = Archive::new().with("g/d", "1").with(b"g/\xc4\xe3", "2").bytes();
    let error = parse(&bytes, &Limits::default()).unwrap_err();
    assert!(matches!(error, ImportError::Name { index: 1 }) && error.code() == 100_004);
}

#[test]
fn metadata_of_another_shape_are_refused() {
    let row = "{dataId: d, group: g, type: text}";
    let deep = |n: usize| format!("m: [{row}]\nx: {}{}", "[".repeat(n), "]".repeat(n));
    let bad = [
        "".to_owned(),
        "# nothing".to_owned(),
        "~".to_owned(),
        "text".to_owned(),
        "{}".to_owned(),
        "- a\n- b\n".to_owned(),
        "metadata:\n".to_owned(),
        "metadata: text\n".to_owned(),
        "metadata: {a: b}\n".to_owned(),
        "metadata: [text]\n".to_owned(),
        "metadata: [[a, b]]\n".to_owned(),
        "metadata: [{dataId: d, group: g, type: [text]}]\n".to_owned(),
        "metadata: [{dataId: d, group: g, [type]: text}]\n".to_owned(),
        "metadata: [{dataId: d, group: ' ', type: text}]\n".to_owned(),
        format!("metadata: [{row}"),
        format!("metadata: [{row}]\n---\nmetadata: [{row}]\n"),
        format!("metadata: [{row}]\nx: \"\\q\"\n"),
        format!("metadata: [&a {row}, *a]\n"),
        deep(51),
    ];
    for text in bad {
        let error = import(&[("g/d", "1"), (".metadata.yml", &text)]).unwrap_err();
        assert!(matches!(error, ImportError::Metadata { .. }), "{text:?}: {error}");
    }
    assert_eq!(import(&[("g/d", "1"), (".metadata.yml", &deep(50))]).unwrap().items.len(), 1);
}

#[test]
fn a_text_that_doubles_by_aliases_is_refused_at_the_first_one() {
    let mut bomb = "metadata: [{dataId: d, group: g, type: text}]\na0: &a0 [lol]\n".to_owned();
    for n in 1..40 {
        bomb.push_str(&format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1));
    }
    let error = import(&[("g/d", "1"), (".metadata.yml", &bomb)]).unwrap_err();
    assert!(error.to_string().contains("alias in line 3"), "{error}");
}

// === archives that are damaged, or mean harm ===

#[test]
fn what_holds_nothing_is_empty() {
    let empty_zip = archive(&[]);
    let only_directories = Archive::new().with("g/", "").with("h/i/", "").bytes();
    let only_unrecognised = archive(&[("a", "1"), ("b/c/d", "2")]);
    for bytes in [b"".to_vec(), b"no archive at all".to_vec(), empty_zip, only_directories, only_unrecognised] {
        let error = parse(&bytes, &Limits::default()).unwrap_err();
        assert_eq!((error.code(), error.message()), (100_005, "导入的文件数据为空"), "{error:?}");
    }
}

#[test]
fn what_cannot_be_unpacked_is_refused_whole() {
    let good = || Archive::new().with("g/a", "readable");
    let mut damaged = good().bytes();
    damaged[34] ^= 0xff;
    let mut wrong_sum = good().bytes();
    let directory = wrong_sum.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    wrong_sum[directory + 16] ^= 1;
    let mut wrong_size = good().bytes();
    wrong_size[directory + 24..directory + 28].fill(0xf0);
    let bad = [
        good().with_header("g/b", CompressionMethod::STORE, true).bytes(),
        good().with_header("g/b", CompressionMethod::ZSTD, false).bytes(),
        good().with_header("g/b", CompressionMethod::AES, true).bytes(),
        damaged,
        wrong_sum,
        wrong_size,
        b"PK\x03\x04".to_vec(),
    ];
    for (n, bytes) in bad.iter().enumerate() {
        let error = parse(bytes, &Limits::default()).unwrap_err();
        assert_eq!((error.code(), error.message()), (100_004, "解析数据失败"), "{n}: {error:?}");
    }
}

/// Cut anywhere, and with any one bit turned, an archive gives an error or items, and takes no time.
#[test]
fn damage_anywhere_is_survived() {
    let metadata = "metadata:\n- {dataId: d, group: g, type: json}\n";
    let good = archive(&[("g/d", "some text, some text, some text"), (".metadata.yml", metadata)]);
    for end in 0..good.len() {
        assert!(parse(&good[..end], &Limits::default()).is_err(), "cut at {end}");
    }
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(imported) = parse(&bytes, &Limits::default()) {
            assert_eq!(&*imported.items[0].content, "some text, some text, some text", "bit {at}");
        }
    }
}

#[test]
fn each_limit_holds_to_the_byte() {
    let too_large = |limits: Limits, bytes: &[u8]| match parse(bytes, &limits) {
        Err(error @ ImportError::TooLarge { what, max }) => {
            assert_eq!(error.code(), 100_004);
            Some((what, max))
        }
        Ok(_) => None,
        Err(other) => panic!("{other:?}"),
    };
    let all = Limits::default();
    let two = archive(&[("g/a", "12345"), ("g/b", "123")]);
    assert_eq!(too_large(Limits { entries_max: 2, ..all }, &two), None);
    assert_eq!(too_large(Limits { entries_max: 1, ..all }, &two), Some(("entries", 1)));
    assert_eq!(too_large(Limits { entry_bytes_max: 5, ..all }, &two), None);
    assert_eq!(too_large(Limits { entry_bytes_max: 4, ..all }, &two), Some(("bytes in one entry", 4)));
    assert_eq!(too_large(Limits { total_bytes_max: 8, ..all }, &two), None);
    assert_eq!(too_large(Limits { total_bytes_max: 7, ..all }, &two), Some(("unpacked bytes", 7)));

    let text = "metadata: [{dataId: a, group: g, type: t}, {dataId: b, group: g, type: t}]";
    let v2 = archive(&[(".metadata.yml", text), ("g/a", "1")]);
    assert_eq!(too_large(Limits { metadata_bytes_max: text.len() as u64, ..all }, &v2), None);
    let one_less = Limits { metadata_bytes_max: text.len() as u64 - 1, ..all };
    assert_eq!(too_large(one_less, &v2), Some(("bytes of metadata", text.len() as u64 - 1)));
    let v2 = archive(&[(".metadata.yml", &text.replace("}]", "}, {dataId: c, group: g, type: t}]")), ("g/a", "1")]);
    assert_eq!(too_large(Limits { entries_max: 3, ..all }, &v2), None);
    assert_eq!(too_large(Limits { entries_max: 2, ..all }, &v2), Some(("rows of metadata", 2)));

    // Bytes that are no UTF-8 count as what they become.
    let replaced = Archive::new().with("g/a", [0xff; 10]).bytes();
    assert_eq!(too_large(Limits { total_bytes_max: 30, ..all }, &replaced), None);
    assert_eq!(too_large(Limits { total_bytes_max: 29, ..all }, &replaced), Some(("unpacked bytes", 29)));

    let packed = archive(&[("g/a", &" ".repeat(100_000))]);
    let free = Limits { ratio_free_bytes: 100_000, ratio_max: 1, ..all };
    assert_eq!(too_large(free, &packed), None);
    let max = packed.len() as u64 * 20;
    assert!(max < 100_000, "the archive is small enough");
    let by_ratio = Limits { ratio_free_bytes: 10, ratio_max: 20, ..all };
    assert_eq!(too_large(by_ratio, &packed), Some(("unpacked bytes", max)));
}

/// A directory whose records all point at the same data: unpacks to anything from next to nothing.
#[test]
fn entries_that_share_their_data_count_each() {
    let one = archive(&[("g/d", &"x".repeat(1_000_000))]);
    let directory = one.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let end = one.windows(4).position(|w| w == b"PK\x05\x06").unwrap();
    let count = 9_999_u16;
    let mut bomb = one[..directory].to_vec();
    bomb.extend(one[directory..end].repeat(usize::from(count)));
    let size = (end - directory) as u32 * u32::from(count);
    bomb.extend(b"PK\x05\x06\0\0\0\0");
    bomb.extend(count.to_le_bytes());
    bomb.extend(count.to_le_bytes());
    bomb.extend(size.to_le_bytes());
    bomb.extend((directory as u32).to_le_bytes());
    bomb.extend([0, 0]);
    let limits = Limits { total_bytes_max: 5_000_000, ..Limits::default() };
    let error = parse(&bomb, &limits).unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { what: "unpacked bytes", max: 5_000_000 }), "{error:?}");
}

// === round trips ===

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9:._中-][a-zA-Z0-9:._中-]{0,20}"
}

/// Texts of all kinds: words, what YAML takes for something else, and anything at all.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,200}",
        "[-+.0-9:_eE ]{1,8}",
        "(null|~|yes|Off|\\.nan|0x1F|2024-01-02|<<|- a|a: b|a #b|---|\\[a|@|%|\"|'|\\\\)",
        "\\PC{0,40}",
        any::<String>(),
    ]
}

prop_compose! {
    fn any_row()(
        group in name(), data_id in name(), content in text(),
        app_name in proptest::option::of(text()), config_type in "[!-~]{1,8}", desc in proptest::option::of(text()),
    ) -> ExportItem {
        ExportItem { group, data_id, content: content.into(), app_name, config_type: Some(config_type), desc }
    }
}

fn without_twins(mut items: Vec<ExportItem>) -> Vec<ExportItem> {
    let mut keys = std::collections::HashSet::new();
    items.retain(|item| keys.insert((item.group.clone(), item.data_id.clone())));
    items
}

proptest! {
    #[test]
    fn v2_brings_everything_back(items in proptest::collection::vec(any_row(), 1..8)) {
        let items = without_twins(items);
        let imported = parse(&export_v2(&items).unwrap(), &Limits::default()).unwrap();
        prop_assert!(imported.unrecognised.is_empty());
        let expected: Vec<_> = items.into_iter().map(|item| ImportItem {
            group: item.group,
            data_id: item.data_id,
            content: item.content,
            app_name: Some(item.app_name.unwrap_or_default()),
            config_type: item.config_type.unwrap(),
            desc: item.desc,
        }).collect();
        prop_assert_eq!(imported.items, expected);
    }

    #[test]
    fn the_old_layout_brings_contents_and_applications_back(
        items in proptest::collection::vec(any_row(), 1..8), app_name in "[^=|\r\n]{1,20}",
    ) {
        let items: Vec<_> = without_twins(items).into_iter().map(|item| ExportItem {
            app_name: item.app_name.is_some().then(|| app_name.clone()), ..item
        }).collect();
        let imported = parse(&export_v1(&items).unwrap(), &Limits::default()).unwrap();
        prop_assert!(imported.unrecognised.is_empty());
        let got: Vec<_> = imported.items.iter().map(|i| (&i.group, &i.data_id, &i.content, i.app_name.as_ref())).collect();
        let expected: Vec<_> = items.iter().map(|i| {
            (&i.group, &i.data_id, &i.content, i.app_name.as_ref().filter(|name| !name.trim().is_empty()))
        }).collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn any_metadata_and_names_are_survived(
        v2 in any::<bool>(), metadata in "[a-d:{}\\[\\]\"'&*!|>%@?~=, \r\n\t-]{0,60}", names in proptest::collection::vec("[a/.]{0,6}", 0..4),
    ) {
        let mut archive = Archive::new().with(if v2 { ".metadata.yml" } else { ".meta.yml" }, metadata);
        for name in names {
            archive = archive.with(name, "x");
        }
        let _ = parse(&archive.bytes(), &Limits::default());
    }
}
