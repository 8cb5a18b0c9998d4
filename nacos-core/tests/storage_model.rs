//! Random batches do to the embedded database what they do to a map.
//!
//! Batches are sent without waiting for one another's answers, so that they are committed in groups of any size;
//! the queue keeps their order, so what each must answer is known.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use nacos_core::storage::{
    Batch, DatabaseOperate, LocalDatabaseOperate, LocalOptions, Query, Statement, StatementDef, StorageError, Value,
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

static INSERT: StatementDef = StatementDef {
    id: "model.insert",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, gmt_create, gmt_modified, content) \
          SELECT 1 + COALESCE(max(id), 0), ?1, 'G', 0, 0, ?2 FROM config_info",
};

static UPSERT: StatementDef = StatementDef {
    id: "model.upsert",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, gmt_create, gmt_modified, content) \
          SELECT 1 + COALESCE(max(id), 0), ?1, 'G', 0, 0, ?2 FROM config_info WHERE true \
          ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET content = ?2",
};

static SET_IF: StatementDef = StatementDef {
    id: "model.set_if",
    version: 1,
    sql: "UPDATE config_info SET content = ?2 WHERE data_id = ?1 AND content = ?3",
};

static REMOVE: StatementDef =
    StatementDef { id: "model.remove", version: 1, sql: "DELETE FROM config_info WHERE data_id = ?1" };

static KEEP: StatementDef = StatementDef {
    id: "model.keep",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, gmt_create, gmt_modified, content) \
          SELECT 1 + (SELECT COALESCE(max(nid), 0) FROM his_config_info), 0, data_id, 'G', 0, 0, content \
          FROM config_info WHERE data_id = ?1",
};

static REMOVE_ALL: StatementDef = StatementDef { id: "model.remove_all", version: 1, sql: "DELETE FROM config_info" };

static FORGET: StatementDef = StatementDef { id: "model.forget", version: 1, sql: "DELETE FROM his_config_info" };

#[derive(Debug, Clone)]
enum Step {
    Insert(String, String),
    Upsert(String, String),
    SetIf(String, String, String),
    Remove(String),
    Keep(String),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    configs: BTreeMap<String, String>,
    history: Vec<(String, String)>,
}

impl Model {
    /// `Err` for a key that is there already.
    fn apply(&mut self, step: &Step) -> Result<u64, ()> {
        match step {
            Step::Insert(key, content) => {
                let before = self.configs.insert(key.clone(), content.clone());
                if before.is_some() { Err(()) } else { Ok(1) }
            }
            Step::Upsert(key, content) => {
                self.configs.insert(key.clone(), content.clone());
                Ok(1)
            }
            Step::SetIf(key, content, expected) => match self.configs.get_mut(key) {
                Some(stored) if stored == expected => {
                    stored.clone_from(content);
                    Ok(1)
                }
                _ => Ok(0),
            },
            Step::Remove(key) => Ok(u64::from(self.configs.remove(key).is_some())),
            Step::Keep(key) => Ok(match self.configs.get(key) {
                Some(content) => {
                    self.history.push((key.clone(), content.clone()));
                    1
                }
                None => 0,
            }),
        }
    }

    /// All or nothing; what the batch must answer.
    fn run(&mut self, batch: &[(Step, bool)]) -> Result<Vec<u64>, String> {
        let mut next = self.clone();
        let mut touched = Vec::new();
        for (index, (step, must_touch)) in batch.iter().enumerate() {
            match next.apply(step) {
                Err(()) => return Err(StorageError::Conflict.to_string()),
                Ok(0) if *must_touch => return Err(StorageError::DemandUnmet(index).to_string()),
                Ok(rows) => touched.push(rows),
            }
        }
        *self = next;
        Ok(touched)
    }
}

fn statement((step, must_touch): &(Step, bool)) -> Statement {
    let args = |texts: &[&String]| texts.iter().map(|text| text.as_str().into()).collect::<Vec<Value>>();
    let statement = match step {
        Step::Insert(key, content) => INSERT.with(args(&[key, content])),
        Step::Upsert(key, content) => UPSERT.with(args(&[key, content])),
        Step::SetIf(key, content, expected) => SET_IF.with(args(&[key, content, expected])),
        Step::Remove(key) => REMOVE.with(args(&[key])),
        Step::Keep(key) => KEEP.with(args(&[key])),
    };
    if *must_touch { statement.must_touch() } else { statement }
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys and contents, so that they meet.
    let key = || "[ab😀]{1,2}";
    let content = || prop_oneof![Just(String::new()), "[xy]", Just("long ".repeat(3000)), "\\PC{0,8}"];
    prop_oneof![
        (key(), content()).prop_map(|(key, content)| Step::Insert(key, content)),
        (key(), content()).prop_map(|(key, content)| Step::Upsert(key, content)),
        (key(), content(), content()).prop_map(|(key, content, expected)| Step::SetIf(key, content, expected)),
        key().prop_map(Step::Remove),
        key().prop_map(Step::Keep),
    ]
}

async fn state(database: &LocalDatabaseOperate) -> Model {
    let rows = async |sql: &'static str| {
        let rows = database.query(Query::new(sql, [])).await.expect("a query").rows;
        let text = |value: &Value| value.as_text().expect("a text").to_string();
        rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect::<Vec<_>>()
    };
    Model {
        configs: rows("SELECT data_id, content FROM config_info").await.into_iter().collect(),
        history: rows("SELECT data_id, content FROM his_config_info ORDER BY nid").await,
    }
}

#[test]
fn batches_do_what_they_do_to_a_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = LocalOptions::new(folder.path().join("nacos.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let database = LocalDatabaseOperate::open(options).expect("a new database");
    let batches = vec(vec((step(), any::<bool>()), 1..5), 1..60);
    let outcome = TestRunner::new(ProptestConfig::with_cases(100)).run(&batches, |batches| {
        runtime.block_on(async {
            database.execute(vec![REMOVE_ALL.with([]), FORGET.with([])].into()).await.expect("a batch");
            let mut model = Model::default();
            let expected: Vec<_> = batches.iter().map(|batch| model.run(batch)).collect();
            let sent = batches
                .iter()
                .map(|batch| database.execute(Batch::from(batch.iter().map(statement).collect::<Vec<_>>())));
            let answers = join_all(sent).await;
            let answers: Vec<_> = answers
                .into_iter()
                .map(|answer| answer.map(|done| done.touched).map_err(|error| error.to_string()))
                .collect();
            prop_assert_eq!(answers, expected);
            prop_assert_eq!(state(&database).await, model);
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
