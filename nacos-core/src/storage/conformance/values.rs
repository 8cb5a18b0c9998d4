//! What a value is after it was stored, and how it compares.

use super::{Database, config, counts, done, history, ints, rows, run, texts};
use crate::storage::{StatementDef, StorageError, Value};

static SET_APP: StatementDef = StatementDef {
    id: "conformance.set_app",
    version: 1,
    sql: "UPDATE config_info SET app_name = ?1, content = COALESCE(?1, 'none') WHERE id = ?2",
};

/// Any text is read back as it was written, up to a mebibyte at least, and so is its absence.
pub async fn texts_round_trip(database: Database) {
    done(&database, vec![config(1, "a", "x")]).await;
    let long = "0123456789abcde\n".repeat(65_536);
    let wide = "配置😀".repeat(1000);
    let controls = "\u{1}\u{2}\t\r\n\u{7f}\u{85}\u{feff}\u{fffd}\u{10ffff}";
    for text in ["", " ", "  padded  ", "plain", "it's \"quoted\" \\ ?1 $1 %s", "é e\u{301}", &wide, controls, &long] {
        done(&database, vec![SET_APP.with([text.into(), 1.into()]).must_touch()]).await;
        let read = rows(&database, "SELECT app_name, content FROM config_info", []).await;
        assert!(read[0] == [text.into(), text.into()], "not read back: {:.60?}", text);
        let found = ints(&database, "SELECT id FROM config_info WHERE app_name = ?1", [text.into()]).await;
        assert_eq!(found, [1], "not found: {text:.60?}");
    }
    done(&database, vec![SET_APP.with([Value::Null, 1.into()])]).await;
    let read = rows(&database, "SELECT app_name, content FROM config_info", []).await;
    assert_eq!(read, [[Value::Null, "none".into()]]);
}

/// U+0000 is stored like any other character, or the batch is refused as a whole (Postgres has no place for it).
pub async fn nul_round_trips_or_is_refused(database: Database) {
    match run(&database, vec![history(1, "a", "x"), config(1, "a", "before\0after\0")]).await {
        Ok(_) => {
            assert_eq!(texts(&database, "SELECT content FROM config_info", []).await, ["before\0after\0"]);
        }
        Err(StorageError::Refused(_)) => assert_eq!(counts(&database).await, (0, 0)),
        Err(error) => panic!("neither stored nor refused: {error}"),
    }
}

/// All 64 bits of an integer are kept.
pub async fn integers_round_trip(database: Database) {
    let all = [i64::MIN, -1, 0, 1, 1 << 53 | 1, i64::MAX];
    done(&database, all.iter().map(|n| config(*n, &n.to_string(), "x")).collect()).await;
    assert_eq!(ints(&database, "SELECT id FROM config_info ORDER BY id", []).await, all);
    for n in all {
        assert_eq!(
            texts(&database, "SELECT data_id FROM config_info WHERE id = ?1", [n.into()]).await,
            [n.to_string()]
        );
    }
}

/// A time is kept to the millisecond, and compares with others.
pub async fn times_round_trip_and_compare(database: Database) {
    let all = [0, 1, 951_827_696_001, 1_795_244_570_550, 1_795_244_570_551, 4_102_444_800_000];
    done(&database, all.iter().map(|ms| history(*ms, "a", "x")).collect()).await;
    assert_eq!(ints(&database, "SELECT gmt_modified FROM his_config_info ORDER BY gmt_modified", []).await, all);
    for (index, ms) in all.into_iter().enumerate() {
        let time = [Value::Time(ms)];
        let earlier =
            ints(&database, "SELECT count(*) FROM his_config_info WHERE gmt_modified < ?1", time.clone()).await;
        assert_eq!(earlier, [index as i64]);
        let equal = ints(&database, "SELECT nid FROM his_config_info WHERE gmt_modified = ?1", time).await;
        assert_eq!(equal, [ms]);
    }
    assert_eq!(ints(&database, "SELECT max(gmt_modified) FROM his_config_info", []).await, [all[5]]);
}

/// NULL and the empty text are two things.
pub async fn null_is_not_empty(database: Database) {
    done(&database, vec![config(1, "null", "x"), config(2, "empty", "x"), SET_APP.with(["".into(), 2.into()])]).await;
    let null = texts(&database, "SELECT data_id FROM config_info WHERE app_name IS NULL", []).await;
    let empty = texts(&database, "SELECT data_id FROM config_info WHERE app_name = ?1", ["".into()]).await;
    assert_eq!((null, empty), (vec!["null".to_owned()], vec!["empty".to_owned()]));
}

/// Texts are equal if their bytes are, and sort by them: no case, blank or accent is folded.
pub async fn texts_compare_by_bytes(database: Database) {
    let mut all = [
        "b", "a", "B", "A", "a ", "a.", "a-", "a_", "aa", "Z", "é", "e\u{301}", "z", "配", "\u{ffff}", "😀", "1", "10",
        "9",
    ];
    done(&database, (0..).zip(all).map(|(n, text)| config(n, text, "x")).collect()).await;
    all.sort_unstable();
    assert_eq!(texts(&database, "SELECT data_id FROM config_info ORDER BY data_id", []).await, all);
    for text in all {
        let found = texts(&database, "SELECT data_id FROM config_info WHERE data_id = ?1", [text.into()]).await;
        assert_eq!(found, [text]);
    }
    let above =
        texts(&database, "SELECT data_id FROM config_info WHERE data_id > ?1 ORDER BY data_id", ["a".into()]).await;
    assert_eq!(above, all.into_iter().filter(|text| *text > "a").collect::<Vec<_>>());
}

static INSERT_WHOLE: StatementDef = StatementDef {
    id: "conformance.insert_whole",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, gmt_create, gmt_modified, src_ip, c_desc, type, \
          content) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?7, '')",
};

/// No column is narrower than what Nacos takes for it: 256 characters of a dataId, 128 of a group and of a namespace,
/// IPv6 addresses, and descriptions of any length; of characters, not of bytes.
pub async fn keys_are_as_long_as_nacos_lets_them_be(database: Database) {
    let (data_id, group, tenant) = ("配".repeat(256), "置".repeat(128), "中".repeat(128));
    let (ip, words) = ("fe80:0000:0000:0000:0000:0000:0000:0001%eth0.4094", "words ".repeat(1000));
    let args: [Value; 7] = [
        1.into(),
        (&*data_id).into(),
        (&*group).into(),
        (&*tenant).into(),
        Value::Time(1),
        ip.into(),
        (&*words).into(),
    ];
    done(&database, vec![INSERT_WHOLE.with(args.clone())]).await;
    let sql = "SELECT data_id, group_id, tenant_id, src_ip, c_desc, type FROM config_info WHERE data_id = ?1";
    let read = rows(&database, sql, [args[1].clone()]).await;
    let expected = [&args[1], &args[2], &args[3], &args[5], &args[6], &args[6]].map(Clone::clone);
    assert!(read == [expected], "not read back");
    let mut again = args;
    again[0] = 2.into();
    assert!(matches!(run(&database, vec![INSERT_WHOLE.with(again)]).await, Err(StorageError::Conflict)));
}

/// The public namespace is the empty text, so that a key is there once: of NULLs a unique index takes any number.
pub async fn a_namespace_is_never_null(database: Database) {
    let insert = |id: i64, tenant: Value| {
        let args = [id.into(), "d".into(), "G".into(), tenant, Value::Time(1), Value::Null, Value::Null];
        vec![INSERT_WHOLE.with(args)]
    };
    done(&database, insert(1, "".into())).await;
    assert!(matches!(run(&database, insert(2, "".into())).await, Err(StorageError::Conflict)));
    assert!(matches!(run(&database, insert(3, Value::Null)).await, Err(StorageError::Refused(_))));
    assert_eq!(counts(&database).await, (1, 0));
}

/// `LIKE`: `%` is any text, `_` any one character, all else is itself; an escape character takes their power.
pub async fn like_minds_case_and_knows_wild_cards(database: Database) {
    let all = ["app.yaml", "App.yaml", "app_yaml", "app%yaml", "app\\yaml", "app", "配置.yaml", "xapp.yaml"];
    done(&database, (0..).zip(all).map(|(n, text)| config(n, text, text)).collect()).await;
    for (pattern, matched) in [
        ("app%", &["app", "app%yaml", "app.yaml", "app\\yaml", "app_yaml"][..]),
        ("App%", &["App.yaml"]),
        ("app_yaml", &["app%yaml", "app.yaml", "app\\yaml", "app_yaml"]),
        ("app\\_yaml", &["app_yaml"]),
        ("app\\%yaml", &["app%yaml"]),
        ("app\\\\yaml", &["app\\yaml"]),
        ("%.yaml", &["App.yaml", "app.yaml", "xapp.yaml", "配置.yaml"]),
        ("__.yaml", &["配置.yaml"]),
        ("%置%", &["配置.yaml"]),
        ("app", &["app"]),
        ("APP", &[]),
        ("", &[]),
    ] {
        for column in ["data_id", "content"] {
            let sql = format!("SELECT data_id FROM config_info WHERE {column} LIKE ?1 ESCAPE '\\' ORDER BY data_id");
            assert_eq!(texts(&database, sql, [pattern.into()]).await, matched, "{column} LIKE {pattern}");
        }
    }
}
