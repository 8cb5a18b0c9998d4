//! A database that Nacos itself wrote, by the common plug-in for PostgreSQL, and databases that are not to be touched.

use std::time::Duration;

use nacos_core::storage::{
    DatabaseOperate as _, PostgresDatabaseOperate, PostgresError, Query, Reach, StatementDef, Value, postgres_servers,
};
use sqlx::Executor as _;

use crate::{Schema, at_once, query, within, write};

/// The tables of the plug-in (nacos-group/nacos-plugin, `nacos-pg.sql`), each with its columns.
const TABLES: [(&str, &str); 12] = [
    (
        "config_info",
        "id bigserial NOT NULL, data_id varchar(255) NOT NULL, group_id varchar(255), content text NOT NULL, \
         md5 varchar(32), gmt_create timestamp(6) NOT NULL, gmt_modified timestamp(6) NOT NULL, src_user text, \
         src_ip varchar(20), app_name varchar(128), tenant_id varchar(128), c_desc varchar(256), c_use varchar(64), \
         effect varchar(64), type varchar(64), c_schema text, encrypted_data_key text NOT NULL, PRIMARY KEY (id)",
    ),
    (
        "config_info_aggr",
        "id bigserial NOT NULL, data_id varchar(255) NOT NULL, group_id varchar(255) NOT NULL, datum_id varchar(255) \
         NOT NULL, content text NOT NULL, gmt_modified timestamp(6) NOT NULL, app_name varchar(128), \
         tenant_id varchar(128), PRIMARY KEY (id)",
    ),
    (
        "config_info_beta",
        "id bigserial NOT NULL, data_id varchar(255) NOT NULL, group_id varchar(128) NOT NULL, app_name varchar(128), \
         content text NOT NULL, beta_ips varchar(1024), md5 varchar(32), gmt_create timestamp(6) NOT NULL, \
         gmt_modified timestamp(6) NOT NULL, src_user text, src_ip varchar(20), tenant_id varchar(128), \
         encrypted_data_key text NOT NULL, PRIMARY KEY (id)",
    ),
    (
        "config_info_tag",
        "id bigserial NOT NULL, data_id varchar(255) NOT NULL, group_id varchar(128) NOT NULL, \
         tenant_id varchar(128), tag_id varchar(128) NOT NULL, app_name varchar(128), content text NOT NULL, \
         md5 varchar(32), gmt_create timestamp(6) NOT NULL, gmt_modified timestamp(6) NOT NULL, src_user text, \
         src_ip varchar(20), PRIMARY KEY (id)",
    ),
    (
        "config_tags_relation",
        "id bigserial NOT NULL, tag_name varchar(128) NOT NULL, tag_type varchar(64), data_id varchar(255) NOT NULL, \
         group_id varchar(128) NOT NULL, tenant_id varchar(128), nid bigserial NOT NULL, PRIMARY KEY (nid)",
    ),
    (
        "his_config_info",
        "id int8 NOT NULL, nid bigserial NOT NULL, data_id varchar(255) NOT NULL, group_id varchar(128) NOT NULL, \
         app_name varchar(128), content text NOT NULL, md5 varchar(32), gmt_create timestamp(6) NOT NULL DEFAULT \
         '2010-05-05 00:00:00', gmt_modified timestamp(6) NOT NULL, src_user text, src_ip varchar(20), \
         op_type char(10), tenant_id varchar(128), encrypted_data_key text NOT NULL, PRIMARY KEY (nid)",
    ),
    (
        "group_capacity",
        "id bigserial NOT NULL, group_id varchar(128) NOT NULL, quota int4 NOT NULL, usage int4 NOT NULL, \
         max_size int4 NOT NULL, max_aggr_count int4 NOT NULL, max_aggr_size int4 NOT NULL, max_history_count int4 \
         NOT NULL, gmt_create timestamp(6) NOT NULL, gmt_modified timestamp(6) NOT NULL, PRIMARY KEY (id)",
    ),
    (
        "tenant_capacity",
        "id bigserial NOT NULL, tenant_id varchar(128) NOT NULL, quota int4 NOT NULL, usage int4 NOT NULL, \
         max_size int4 NOT NULL, max_aggr_count int4 NOT NULL, max_aggr_size int4 NOT NULL, max_history_count int4 \
         NOT NULL, gmt_create timestamp(6) NOT NULL, gmt_modified timestamp(6) NOT NULL, PRIMARY KEY (id)",
    ),
    (
        "tenant_info",
        "id bigserial NOT NULL, kp varchar(128) NOT NULL, tenant_id varchar(128), tenant_name varchar(128), \
         tenant_desc varchar(256), create_source varchar(32), gmt_create int8 NOT NULL, gmt_modified int8 NOT NULL",
    ),
    ("users", "username varchar(50) NOT NULL, password varchar(500) NOT NULL, enabled boolean NOT NULL"),
    ("roles", "username varchar(50) NOT NULL, role varchar(50) NOT NULL"),
    ("permissions", "role varchar(50) NOT NULL, resource varchar(512) NOT NULL, action varchar(8) NOT NULL"),
];

/// Its indexes: whether unique, name, table and columns.
const INDEXES: [(&str, &str, &str, &str); 14] = [
    ("UNIQUE", "uk_configinfo_datagrouptenant", "config_info", "data_id, group_id, tenant_id"),
    ("UNIQUE", "uk_configinfoaggr_datagrouptenantdatum", "config_info_aggr", "data_id, group_id, tenant_id, datum_id"),
    ("UNIQUE", "uk_configinfobeta_datagrouptenant", "config_info_beta", "data_id, group_id, tenant_id"),
    ("UNIQUE", "uk_configinfotag_datagrouptenanttag", "config_info_tag", "data_id, group_id, tenant_id, tag_id"),
    ("", "idx_tenant_id", "config_tags_relation", "tenant_id"),
    ("UNIQUE", "uk_configtagrelation_configidtag", "config_tags_relation", "id, tag_name, tag_type"),
    ("UNIQUE", "uk_group_id", "group_capacity", "group_id"),
    ("", "idx_did", "his_config_info", "data_id"),
    ("", "idx_gmt_create", "his_config_info", "gmt_create"),
    ("", "idx_gmt_modified", "his_config_info", "gmt_modified"),
    ("UNIQUE", "uk_role_permission", "permissions", "role, resource, action"),
    ("UNIQUE", "uk_username_role", "roles", "username, role"),
    ("UNIQUE", "uk_tenant_id", "tenant_capacity", "tenant_id"),
    ("UNIQUE", "uk_tenant_info_kptenantid", "tenant_info", "kp, tenant_id"),
];

/// A row or more in each; the tables that are left out have none to lose.
const ROWS: [(&str, &str); 11] = [
    (
        "config_info",
        "(data_id, group_id, tenant_id, content, md5, gmt_create, gmt_modified, encrypted_data_key, type) VALUES \
         ('b', 'G', NULL, 'of public', 'm', '2020-01-02 03:04:05.678', '2021-01-02 03:04:05', '', 'yaml'), \
         ('B', 'G', '', 'of public too', 'm', '2020-01-02', '2020-01-02', 'key', NULL), \
         ('a', NULL, 'ns', E'two\\nlines', NULL, '2020-01-02', '2020-01-02', '', NULL), \
         ('Z', 'G', 'ns', '数据', 'm', '2020-01-02', '2020-01-02', '', NULL)",
    ),
    (
        "config_info_beta",
        "(data_id, group_id, content, beta_ips, gmt_create, gmt_modified, encrypted_data_key) \
         VALUES ('b', 'G', 'beta', '127.0.0.1', '2020-01-02', '2020-01-02', '')",
    ),
    (
        "config_info_tag",
        "(data_id, group_id, tag_id, content, gmt_create, gmt_modified) \
         VALUES ('b', 'G', 'tag', 'of tag', '2020-01-02', '2020-01-02')",
    ),
    ("config_tags_relation", "(id, tag_name, data_id, group_id) VALUES (1, 'blue', 'b', 'G')"),
    (
        "his_config_info",
        "(id, data_id, group_id, content, gmt_modified, op_type, encrypted_data_key) \
         VALUES (1, 'b', 'G', 'old', '2020-01-02', 'U', ''), (1, 'b', 'G', 'older', '2019-01-02', NULL, '')",
    ),
    ("group_capacity", "VALUES (1, 'G', 7, 3, 100, 0, 0, 0, '2020-01-02', '2020-01-02')"),
    ("tenant_info", "VALUES (1, '1', 'ns', 'Name', NULL, 'nacos', 1577934245678, 1577934245678)"),
    ("tenant_capacity", "VALUES (1, 'ns', 9, 1, 100, 0, 0, 0, '2020-01-02', '2020-01-02')"),
    ("users", "VALUES ('nacos', '$2a$10$hash', true), ('old', 'x', false)"),
    ("roles", "VALUES ('nacos', 'ROLE_ADMIN')"),
    ("permissions", "VALUES ('dev', 'ns:*:*', 'rw')"),
];

/// A schema as the plug-in makes it, but for the tables in `without`, with rows.
async fn plug_in(without: &[&str]) -> Option<Schema> {
    let schema = Schema::new().await?;
    let is_there = |table: &str| !without.contains(&table);
    let tables = TABLES.iter().filter(|(table, _)| is_there(table));
    let mut sql: Vec<String> = tables.map(|(table, columns)| format!("CREATE TABLE {table} ({columns})")).collect();
    let indexes = INDEXES.iter().filter(|(_, _, table, _)| is_there(table));
    sql.extend(indexes.map(|(unique, name, table, on)| format!("CREATE {unique} INDEX {name} ON {table} ({on})")));
    let rows = ROWS.iter().filter(|(table, _)| is_there(table));
    sql.extend(rows.map(|(table, rows)| format!("INSERT INTO {table} {rows}")));
    schema.run(&sql.join(";\n")).await;
    Some(schema)
}

/// All that is in the schema: tables with their columns, indexes, sequences, and rows.
async fn everything(schema: &Schema) -> Vec<String> {
    // One connection for all: to log in costs a test build much time.
    let mut conn = schema.connect().await;
    let mut read = async |sql: String| -> Vec<String> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap()
    };
    let mut all = Vec::new();
    for sql in [
        "SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, collation_name, \
         is_nullable, column_default) FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
        "SELECT concat_ws(' ', sequencename, last_value) FROM pg_sequences WHERE schemaname = current_schema() \
         ORDER BY 1",
    ] {
        all.extend(read(sql.to_owned()).await);
    }
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1";
    for table in read(tables.to_owned()).await {
        all.extend(read(format!("SELECT '{table} ' || t::text FROM {table} t ORDER BY 1")).await);
    }
    all
}

/// Why it is refused, which must leave all as it was.
async fn refused(schema: &Schema) -> PostgresError {
    let before = everything(schema).await;
    let Err(error) = within("open", PostgresDatabaseOperate::open(schema.options())).await else {
        panic!("it was opened");
    };
    assert_eq!(everything(schema).await, before);
    error
}

async fn differences(schema: &Schema) -> Vec<String> {
    match refused(schema).await {
        PostgresError::UnknownSchema(differences) => differences,
        error => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_plug_in_is_taken_over_with_all_its_rows() {
    let Some(schema) = plug_in(&[]).await else { return };
    let database = schema.open().await;
    assert_eq!(schema.texts("SELECT name FROM nacos_schema").await, ["taken over"]);

    let rows = async |sql: &str| query(&*database, sql).await.unwrap().rows;
    // By bytes: capitals come first.
    let sql = "SELECT data_id, group_id, tenant_id, content, md5, type, encrypted_data_key FROM config_info \
               ORDER BY data_id";
    let row = |texts: [&str; 4]| texts.map(Value::from);
    let found = rows(sql).await;
    let expected = [
        row(["B", "G", "", "of public too"]),
        row(["Z", "G", "ns", "数据"]),
        row(["a", "", "ns", "two\nlines"]),
        row(["b", "G", "", "of public"]),
    ];
    assert_eq!(found.iter().map(|row| row[..4].to_vec()).collect::<Vec<_>>(), expected);
    assert_eq!(found[3][4..], ["m".into(), "yaml".into(), "".into()]);
    assert_eq!(found[2][4..], [Value::Null, Value::Null, "".into()]);
    assert_eq!(
        rows("SELECT gmt_create, gmt_modified FROM config_info WHERE data_id = 'b'").await,
        [[Value::Time(1_577_934_245_678), Value::Time(1_609_556_645_000)]]
    );
    assert_eq!(
        rows("SELECT tenant_id, op_type, content, gmt_create FROM his_config_info ORDER BY nid").await,
        [
            ["".into(), "U".into(), "old".into(), Value::Time(1_273_017_600_000)],
            ["".into(), Value::Null, "older".into(), Value::Time(1_273_017_600_000)],
        ]
    );
    // Whoever reads it beside us finds no blanks either.
    assert_eq!(schema.texts("SELECT op_type || '|' FROM his_config_info WHERE op_type = 'U'").await, ["U|"]);
    assert_eq!(
        rows("SELECT tenant_id, beta_ips, content FROM config_info_beta").await,
        [["".into(), "127.0.0.1".into(), "beta".into()]]
    );
    assert_eq!(rows("SELECT tenant_id, tag_id FROM config_info_tag").await, [["".into(), "tag".into()]]);
    assert_eq!(
        rows("SELECT tag_name, tag_type, tenant_id FROM config_tags_relation").await,
        [["blue".into(), "".into(), "".into()]]
    );
    assert_eq!(rows("SELECT quota, usage FROM group_capacity").await, [[Value::Int(7), Value::Int(3)]]);
    assert_eq!(rows("SELECT quota, usage FROM tenant_capacity").await, [[Value::Int(9), Value::Int(1)]]);
    assert_eq!(
        rows("SELECT tenant_id, tenant_name, gmt_create FROM tenant_info").await,
        [["ns".into(), "Name".into(), Value::Int(1_577_934_245_678)]]
    );
    assert_eq!(
        rows("SELECT username, enabled FROM users ORDER BY username").await,
        [["nacos".into(), Value::Int(1)], ["old".into(), Value::Int(0)]]
    );
    assert_eq!(rows("SELECT username, role FROM roles").await, [["nacos".into(), "ROLE_ADMIN".into()]]);
    assert_eq!(rows("SELECT resource, action FROM permissions").await, [["ns:*:*".into(), "rw".into()]]);
    let narrow = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = \
                  current_schema() AND table_name NOT IN ('config_info_aggr', 'nacos_schema') AND (data_type IN \
                  ('integer', 'character', 'character varying') OR data_type = 'text' AND collation_name IS DISTINCT \
                  FROM 'C')";
    assert_eq!(schema.texts(narrow).await, [""; 0]);

    // A second start, and a second server, find nothing to do.
    let before = everything(&schema).await;
    database.close().await;
    assert_eq!(*schema.open().await.reach().borrow(), Reach::Ready);
    assert_eq!(everything(&schema).await, before);
}

static UPSERT: StatementDef = StatementDef {
    id: "test.upsert",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', ?3, ?4, ?5, ?5, ?6) ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET \
          md5 = excluded.md5, gmt_modified = excluded.gmt_modified, content = excluded.content",
};

/// Every statement that finds its row by a key, as the repositories have them.
static KEYED: [StatementDef; 9] = [
    StatementDef {
        id: "test.keyed.1",
        version: 1,
        sql: "INSERT INTO config_info_beta (id, data_id, group_id, tenant_id, gmt_create, gmt_modified, content) VALUES (?1, ?2, 'G', '', ?3, ?3, 'x') ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET content = excluded.content",
    },
    StatementDef {
        id: "test.keyed.2",
        version: 1,
        sql: "INSERT INTO config_info_tag (id, data_id, group_id, tenant_id, tag_id, gmt_create, gmt_modified, content) VALUES (?1, ?2, 'G', '', 't', ?3, ?3, 'x') ON CONFLICT (data_id, group_id, tenant_id, tag_id) DO UPDATE SET content = excluded.content",
    },
    StatementDef {
        id: "test.keyed.3",
        version: 1,
        sql: "INSERT INTO config_tags_relation (nid, id, tag_name, tag_type, data_id, group_id, tenant_id) SELECT ?1, ?1, ?2, '', ?2, 'G', '' WHERE ?3 > '2000-01-01' ON CONFLICT (id, tag_name, tag_type) DO NOTHING",
    },
    StatementDef {
        id: "test.keyed.4",
        version: 1,
        sql: "INSERT INTO tenant_info (id, kp, tenant_id, tenant_name, gmt_create, gmt_modified) VALUES (?1, '1', ?2, ?2, ?3, ?3) ON CONFLICT (kp, tenant_id) DO UPDATE SET tenant_name = excluded.tenant_name",
    },
    StatementDef {
        id: "test.keyed.5",
        version: 1,
        sql: "INSERT INTO group_capacity (id, group_id, quota, usage, gmt_create, gmt_modified) VALUES (?1, ?2, 5000000000, 0, ?3, ?3) ON CONFLICT (group_id) DO UPDATE SET quota = excluded.quota",
    },
    StatementDef {
        id: "test.keyed.6",
        version: 1,
        sql: "INSERT INTO tenant_capacity (id, tenant_id, quota, usage, gmt_create, gmt_modified) VALUES (?1, ?2, 5000000000, 0, ?3, ?3) ON CONFLICT (tenant_id) DO UPDATE SET quota = excluded.quota",
    },
    StatementDef {
        id: "test.keyed.7",
        version: 1,
        sql: "INSERT INTO users (username, password, enabled) VALUES (?2, 'x', ?1 > 0 AND CAST(?3 AS bigint) > 0) ON CONFLICT (username) DO UPDATE SET password = excluded.password",
    },
    StatementDef {
        id: "test.keyed.8",
        version: 1,
        sql: "INSERT INTO roles (username, role) SELECT ?2, 'r' WHERE ?1 > 0 AND CAST(?3 AS bigint) > 0 ON CONFLICT (username, role) DO NOTHING",
    },
    StatementDef {
        id: "test.keyed.9",
        version: 1,
        sql: "INSERT INTO permissions (role, resource, action) SELECT ?2, 'x', 'r' WHERE ?1 > 0 AND CAST(?3 AS bigint) > 0 ON CONFLICT (role, resource, action) DO NOTHING",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_taken_over_is_written_like_our_own() {
    let Some(schema) = plug_in(&[]).await else { return };
    let database = schema.open().await;
    // The row whose namespace was NULL is found by its key; the id stays.
    let upsert = |id: i64, data_id: &str, tenant: &str, content: &str| {
        UPSERT.with([id.into(), data_id.into(), tenant.into(), content.into(), Value::Time(1), content.into()])
    };
    write(&*database, vec![upsert(100, "b", "", "changed")]).await.unwrap();
    let sql = "SELECT id, content FROM config_info WHERE data_id = 'b'";
    assert_eq!(query(&*database, sql).await.unwrap().rows, [[Value::Int(1), "changed".into()]]);

    let long = "é".repeat(600);
    write(&*database, vec![upsert(i64::MAX, &long, &long, &long)]).await.unwrap();
    let found =
        database.query(Query::new("SELECT tenant_id, md5 FROM config_info WHERE data_id = ?1", [long.as_str().into()]));
    assert_eq!(found.await.unwrap().rows, [[long.as_str().into(), long.as_str().into()]]);

    for statement in &KEYED {
        for _ in 0..2 {
            let outcome = write(
                &*database,
                vec![statement.with([1000.into(), long.as_str().into(), Value::Time(1_577_934_245_678)])],
            )
            .await;
            assert!(outcome.is_ok(), "{}: {outcome:?}", statement.sql);
        }
    }
    let sql = "SELECT quota FROM group_capacity ORDER BY quota";
    assert_eq!(query(&*database, sql).await.unwrap().rows, [[Value::Int(7)], [Value::Int(5_000_000_000)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_missing_are_made() {
    let without = ["users", "roles", "permissions", "tenant_capacity", "config_info_aggr"];
    let Some(schema) = plug_in(&without).await else { return };
    let database = schema.open().await;
    for statement in &KEYED {
        let outcome =
            write(&*database, vec![statement.with([1000.into(), "key".into(), Value::Time(1_577_934_245_678)])]).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", statement.sql);
    }
    assert_eq!(query(&*database, "SELECT content FROM config_info").await.unwrap().rows.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_start_at_once_take_over_once() {
    let Some(schema) = plug_in(&[]).await else { return };
    for opened in futures_util::future::join_all((0..4).map(|_| schema.open())).await {
        assert_eq!(*opened.reach().borrow(), Reach::Ready);
    }
    assert_eq!(schema.texts("SELECT name FROM nacos_schema").await, ["taken over"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_another_shape_are_refused_with_every_difference() {
    let Some(schema) = Schema::new().await else { return };
    schema
        .run(
            "CREATE TABLE config_info (id uuid, data_id int, group_id text, tenant_id text, content bytea, md5 text, \
             gmt_create bigint, gmt_modified date, src_user text, src_ip inet, app_name text, c_desc text, c_use text, \
             effect text, type text, c_schema jsonb); INSERT INTO config_info (data_id) VALUES (7); \
             CREATE TABLE users (id bigint PRIMARY KEY, username text, enabled int)",
        )
        .await;
    let mut expected = vec![
        "table his_config_info is missing".to_owned(),
        "config_info.id is uuid, expected Integer".to_owned(),
        "config_info.data_id is integer, expected Text".to_owned(),
        "config_info.content is bytea, expected Text".to_owned(),
        "config_info.gmt_create is bigint, expected Time".to_owned(),
        "config_info.gmt_modified is date, expected Time".to_owned(),
        "config_info.src_ip is inet, expected Text".to_owned(),
        "config_info.c_schema is jsonb, expected Text".to_owned(),
        "config_info.encrypted_data_key is missing".to_owned(),
        "users.password is missing".to_owned(),
        "users.enabled is integer, expected Flag".to_owned(),
    ];
    let mut found = differences(&schema).await;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// The application whose database it is has a table `users`, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_another_application_are_left_alone() {
    let Some(schema) = Schema::new().await else { return };
    schema.run("CREATE TABLE roles (username text, role text); INSERT INTO roles VALUES ('a', 'b')").await;
    assert_eq!(differences(&schema).await, ["table config_info is missing", "table his_config_info is missing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_there_twice_are_refused_by_name() {
    // What makes two of a key, and what they are called.
    for (table, rows, named) in [
        (
            "config_info",
            "(data_id, group_id, content, gmt_create, gmt_modified, encrypted_data_key) VALUES \
             ('b', 'G', 'x', now(), now(), '')",
            "b / G / ",
        ),
        (
            "config_info_beta",
            "(data_id, group_id, content, gmt_create, gmt_modified, encrypted_data_key) VALUES \
             ('b', 'G', 'x', now(), now(), '')",
            "b / G / ",
        ),
        (
            "config_info_tag",
            "(data_id, group_id, tenant_id, tag_id, content, gmt_create, gmt_modified) VALUES \
             ('b', 'G', '', 'tag', 'x', now(), now())",
            "b / G /  / tag",
        ),
        ("config_tags_relation", "(id, tag_name, data_id, group_id) VALUES (1, 'blue', 'b', 'G')", "1 / blue / "),
        ("tenant_info", "VALUES (2, '1', NULL, 'x', NULL, 'x', 0, 0), (3, '1', NULL, 'x', NULL, 'x', 0, 0)", "1 / "),
        ("users", "VALUES ('nacos', 'x', true)", "nacos"),
    ] {
        let Some(schema) = plug_in(&[]).await else { return };
        schema.run(&format!("INSERT INTO {table} {rows}")).await;
        let found = differences(&schema).await;
        let expected = format!("{table} holds the key {named} more than once");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}, expected {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_newer_version_are_refused() {
    let Some(schema) = Schema::new().await else { return };
    schema.open().await.close().await;
    schema.run("INSERT INTO nacos_schema (number, name) VALUES (7, 'later')").await;
    match refused(&schema).await {
        PostgresError::NewerVersion { found: 7, known: 1 } => {}
        error => panic!("{error}"),
    }
}

/// It becomes known only when the database comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_comes_late_is_told_as_the_reason_of_being_away() {
    let Some(schema) = Schema::new().await else { return };
    schema.run("CREATE TABLE config_info (x int)").await;
    let proxy = schema.proxy().await;
    proxy.refuse().await;
    let database = schema.open_with(schema.options_by(&[&proxy])).await;
    proxy.accept().await;
    let names_it = |reach: &Reach| matches!(reach, Reach::Away(why) if why.contains("config_info.data_id is missing"));
    within("the reason", database.reach().wait_for(names_it)).await.unwrap();
    // Mended by the operator, it is used without a new start.
    schema.run("DROP TABLE config_info").await;
    crate::is_ready(&database).await;
    at_once("a write", write(&*database, vec![crate::put(1, "a", "x")])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_told_without_a_secret() {
    let Some(schema) = Schema::new().await else { return };
    let (_, secret) = schema.url.split_once("://").unwrap().1.split_once('@').unwrap().0.split_once(':').unwrap();
    let no_database = schema.url.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database?sslmode=disable";
    for (url, user, password) in
        [(schema.url(None, ""), "", "canary"), (schema.url(None, ""), "no_such_user", "canary"), (no_database, "", "")]
    {
        let servers = postgres_servers(&url, user, password).unwrap();
        let opened = PostgresDatabaseOperate::open(nacos_core::storage::PostgresOptions::new(servers.clone())).await;
        let error = opened.map(drop).unwrap_err();
        assert!(matches!(error, PostgresError::Refused(_)), "{error}");
        for text in [error.to_string(), format!("{error:?}"), format!("{servers:?}")] {
            assert!(!text.contains("canary") && !text.contains(secret), "{text}");
            assert!(!text.contains("p%w/ord"), "{text}");
        }
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_does_not_exist_is_told_as_such() {
    let Some(schema) = Schema::new().await else { return };
    let mut conn = schema.connect().await;
    let drop_it = format!("DROP SCHEMA {}", schema.name);
    conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(drop_it))).await.unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(10), PostgresDatabaseOperate::open(schema.options())).await;
    let error = opened.unwrap().map(drop).unwrap_err();
    assert!(matches!(error, PostgresError::Migration(_)), "{error}");
}
