//! The rules and rows of namespaces, over the embedded database and over one that fails as told.

use std::collections::BTreeSet;

use async_trait::async_trait;
use nacos_core::storage::{Batch, Committed, LocalDatabaseOperate, LocalOptions};
use tempfile::TempDir;

use super::*;

/// A fresh database; it lives as long as its folder.
pub(crate) fn database() -> (TempDir, Arc<dyn DatabaseOperate>) {
    let folder = TempDir::new().unwrap();
    let options = LocalOptions::new(folder.path().join("nacos.db"));
    (folder, Arc::new(LocalDatabaseOperate::open(options).unwrap()))
}

/// Namespaces over this database.
pub(crate) fn namespaces(database: &Arc<dyn DatabaseOperate>) -> Arc<Namespaces> {
    Arc::new(Namespaces::new(database.clone(), Arc::new(Ids::new(1)), QUOTA_DEFAULT))
}

/// Stores a configuration, as far as counting needs one.
pub(crate) async fn store_config(database: &Arc<dyn DatabaseOperate>, ids: &Ids, namespace: &str, data_id: &str) {
    static STORE: StatementDef = StatementDef {
        id: "test.config",
        version: 1,
        sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, content, md5, gmt_create, gmt_modified, encrypted_data_key) \
              VALUES (?1, ?2, 'g', ?3, 'x', '9dd4e461268c8034f5c8564e155c67a6', ?4, ?4, '')",
    };
    let args = [ids.next().into(), data_id.into(), namespace.into(), Value::Time(clock::wall_ms())];
    database.execute(vec![STORE.with(args)].into()).await.unwrap();
}

/// A database that answers every call with this error.
pub(crate) struct Failing(pub(crate) StorageError);

#[async_trait]
impl DatabaseOperate for Failing {
    async fn execute(&self, _: Batch) -> Result<Committed, StorageError> {
        Err(self.0.clone())
    }

    async fn query(&self, _: Query) -> Result<Rows, StorageError> {
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn a_namespace_is_created_renamed_and_deleted() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    assert_eq!(all.create(" dev-1_X ", "Development", Some("ours")).await.unwrap(), "dev-1_X");
    assert!(all.exists("dev-1_X").await.unwrap());
    assert!(!all.exists("DEV-1_X").await.unwrap());

    let made = all.get("dev-1_X").await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_string(&made).unwrap(),
        r#"{"namespace":"dev-1_X","namespaceShowName":"Development","namespaceDesc":"ours","quota":200,"configCount":0,"type":2}"#,
    );

    all.update("dev-1_X", "发展", None).await.unwrap();
    let renamed = all.get("dev-1_X").await.unwrap().unwrap();
    assert_eq!(renamed, Namespace { namespace_show_name: "发展".into(), namespace_desc: None, ..made });

    all.update("nobody", "x", None).await.unwrap();
    assert_eq!(all.get("nobody").await.unwrap(), None);

    all.delete("dev-1_X").await.unwrap();
    all.delete("dev-1_X").await.unwrap();
    assert!(!all.exists("dev-1_X").await.unwrap());
}

#[tokio::test]
async fn a_row_is_written_as_nacos_writes_it() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    let before = clock::wall_ms();
    all.create("n1", "one", None).await.unwrap();
    let row = async || {
        let sql = "SELECT kp, tenant_id, tenant_name, tenant_desc, create_source, gmt_create, gmt_modified, id FROM tenant_info";
        let mut rows = database.query(Query::new(sql, [])).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    };
    let first = row().await;
    let texts: Vec<_> = first[..5].iter().map(|value| value.as_text().map(AsRef::as_ref)).collect();
    assert_eq!(texts, [Some("1"), Some("n1"), Some("one"), None, Some("nacos")]);
    let created = first[5].as_int().unwrap();
    assert!((before..=clock::wall_ms()).contains(&created));
    assert_eq!(first[6], first[5]);
    assert!(first[7].as_int().unwrap() > 0);

    all.update("n1", "two", Some("d")).await.unwrap();
    let second = row().await;
    assert_eq!((&second[5], &second[7]), (&first[5], &first[7]));
    assert!(second[6].as_int().unwrap() >= created);
}

#[tokio::test]
async fn the_list_begins_with_public_and_keeps_the_order_of_creation() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    for id in ["zz", "aa", "mm"] {
        all.create(id, id, None).await.unwrap();
    }
    let list = all.list().await.unwrap();
    let ids: Vec<_> = list.iter().map(|one| one.namespace.as_str()).collect();
    assert_eq!(ids, ["", "zz", "aa", "mm"]);
    assert_eq!(
        serde_json::to_string(&list[0]).unwrap(),
        r#"{"namespace":"","namespaceShowName":"public","namespaceDesc":null,"quota":200,"configCount":0,"type":0}"#,
    );
}

#[tokio::test]
async fn the_public_namespace_always_exists_and_is_called_by_no_other_id() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    assert!(all.exists("").await.unwrap());
    let public = all.get("").await.unwrap().unwrap();
    assert_eq!((public.namespace_show_name.as_str(), public.kind), ("Public", NamespaceType::Global));
    assert_eq!(public.namespace_desc.as_deref(), Some("Public Namespace"));
    assert_eq!(all.get(" ").await.unwrap().unwrap().namespace, " ");
    assert!(!all.exists("public").await.unwrap());
    assert_eq!(all.get("public").await.unwrap(), None);
}

#[tokio::test]
async fn configurations_are_counted_by_the_exact_id_and_outlive_their_namespace() {
    let (_folder, database) = database();
    let (all, ids) = (namespaces(&database), Ids::new(2));
    for id in ["a_b", "axb"] {
        all.create(id, id, None).await.unwrap();
    }
    for (namespace, data_id) in [("a_b", "d1"), ("a_b", "d2"), ("axb", "d1"), ("", "d1"), ("undeclared", "d1")] {
        store_config(&database, &ids, namespace, data_id).await;
    }
    let counts: Vec<_> = all.list().await.unwrap().into_iter().map(|one| (one.namespace, one.config_count)).collect();
    assert_eq!(counts, [(String::new(), 1), ("a_b".into(), 2), ("axb".into(), 1)]);
    for (id, count) in counts {
        assert_eq!(all.get(&id).await.unwrap().unwrap().config_count, count, "{id}");
    }

    all.delete("a_b").await.unwrap();
    all.create("a_b", "again", None).await.unwrap();
    assert_eq!(all.get("a_b").await.unwrap().unwrap().config_count, 2);
}

#[tokio::test]
async fn ids_and_names_are_held_to_their_rules_and_nothing_is_written() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    all.create("taken", "taken", None).await.unwrap();
    let long = |n: usize| "n".repeat(n);
    let cases = [
        ("a.b".to_owned(), "x".to_owned(), "namespaceId [a.b] mismatch the pattern"),
        ("中".to_owned(), "x".to_owned(), "namespaceId [中] mismatch the pattern"),
        // Java's `trim` takes these off, though they are no white space to it.
        ("\u{1}".to_owned(), "x".to_owned(), "namespaceId [] mismatch the pattern"),
        (long(129), "x".to_owned(), "too long namespaceId, over 128"),
        ("taken".to_owned(), "x".to_owned(), "the namespaceId is existed, namespaceId: taken"),
        ("taken".to_owned(), "a@b".to_owned(), "the namespaceId is existed, namespaceId: taken"),
        ("n".to_owned(), "a@b".to_owned(), "namespaceName [a@b] contains illegal char"),
        ("n".to_owned(), String::new(), "namespaceName [] contains illegal char"),
        ("n".to_owned(), long(129), "namespace name over 128 characters"),
        // Counted as Java counts: a letter outside the first plane is two.
        ("n".to_owned(), "\u{1f980}".repeat(64) + "x", "namespace name over 128 characters"),
    ];
    for (id, name, text) in cases {
        assert_eq!(all.create(&id, &name, None).await.unwrap_err().to_string(), text);
    }
    let description = all.create("n", "x", Some(&long(257))).await.unwrap_err();
    assert_eq!(description.to_string(), "namespace description over 256 characters");
    assert!(matches!(all.update("taken", "a&b", None).await, Err(NamespaceError::IllegalName(_))));
    assert!(matches!(all.update("taken", &long(129), None).await, Err(NamespaceError::TooLong("name", 128))));

    let list = all.list().await.unwrap();
    let names: Vec<_> = list.iter().map(|one| one.namespace_show_name.as_str()).collect();
    assert_eq!(names, ["public", "taken"]);

    // The longest that are good.
    all.create(&long(128), &"\u{1f980}".repeat(64), Some(&long(256))).await.unwrap();
}

#[tokio::test]
async fn a_blank_id_becomes_a_random_one() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    let made = [all.create("", "x", None).await.unwrap(), all.create("  ", "x", None).await.unwrap()];
    assert_ne!(made[0], made[1]);
    for id in made {
        assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 4);
        assert!(all.exists(&id).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_creates() {
    let (_folder, database) = database();
    let all = namespaces(&database);
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let all = all.clone();
            tokio::spawn(async move { all.create("same", &format!("name {i}"), None).await })
        })
        .collect();
    let mut created = Vec::new();
    for (i, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(id) => created.push((i, id)),
            Err(NamespaceError::Exists(id)) => assert_eq!(id, "same"),
            Err(other) => panic!("{other}"),
        }
    }
    let [(winner, id)] = &created[..] else { panic!("{created:?}") };
    assert_eq!(all.get(id).await.unwrap().unwrap().namespace_show_name, format!("name {winner}"));
}

#[tokio::test]
async fn what_the_store_says_is_passed_on() {
    let lost = || StorageError::Unconfirmed("leader gone".into());
    let database: Arc<dyn DatabaseOperate> = Arc::new(Failing(lost()));
    let all = namespaces(&database);
    let is_lost = |error: &StorageError| matches!(error, StorageError::Unconfirmed(_));
    assert!(is_lost(&all.list().await.unwrap_err()));
    assert!(is_lost(&all.get("").await.unwrap_err()));
    assert!(is_lost(&all.get("n").await.unwrap_err()));
    assert!(is_lost(&all.exists("n").await.unwrap_err()));
    assert!(is_lost(&all.delete("n").await.unwrap_err()));
    for error in [all.create("n", "x", None).await.unwrap_err(), all.update("n", "x", None).await.unwrap_err()] {
        assert!(matches!(error, NamespaceError::Storage(StorageError::Unconfirmed(_))), "{error}");
    }
}

#[test]
fn statements_have_ids_of_their_own() {
    let ids: BTreeSet<_> = STATEMENTS.iter().map(|def| def.id).collect();
    assert_eq!(ids, BTreeSet::from(["namespace.delete", "namespace.insert", "namespace.update"]));
}
