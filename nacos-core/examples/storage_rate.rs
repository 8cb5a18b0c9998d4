//! Prints how many batches a second the embedded database commits, each synced before its answer, for growing
//! numbers of concurrent tasks: `cargo run --release -p nacos-core --example storage_rate [FOLDER] [SECONDS]`.
//!
//! A batch is what a publish writes: a history row and an upsert, with 1 KiB of content, and a clearing of tags.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nacos_core::storage::{
    Batch, DatabaseOperate, LocalDatabaseOperate, LocalOptions, StatementDef, StorageError, Value,
};
use tokio::time::Instant;

static HISTORY: StatementDef = StatementDef {
    id: "rate.history",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, \
          op_type, content) SELECT ?1, id, data_id, group_id, tenant_id, md5, ?2, ?2, 'U', content \
          FROM config_info WHERE data_id = ?3 AND group_id = ?4 AND tenant_id = ?5",
};

static UPSERT: StatementDef = StatementDef {
    id: "rate.upsert",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET \
          md5 = ?5, gmt_modified = ?6, content = ?7",
};

static CLEAR_TAGS: StatementDef = StatementDef {
    id: "rate.clear_tags",
    version: 1,
    sql: "DELETE FROM config_tags_relation WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3",
};

/// Keys written in turn.
const KEYS: u64 = 1000;

fn publish(number: u64, content: &Value) -> Batch {
    let key = || [format!("application-{}.yaml", number % KEYS).into(), "DEFAULT_GROUP".into(), "".into()];
    let [data_id, group, namespace]: [Value; 3] = key();
    let id = Value::Int(number as i64);
    let time = Value::Time(1_795_244_570_550 + number as i64);
    let md5: Value = format!("{number:032x}").into();
    let [data_id_2, group_2, namespace_2] = key();
    Batch::from(vec![
        HISTORY.with([id.clone(), time.clone(), data_id, group, namespace]),
        UPSERT.with([id, data_id_2, group_2, namespace_2, md5, time, content.clone()]),
        CLEAR_TAGS.with(key()),
    ])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let time = Duration::from_secs(args.next().map_or(Ok(3), |seconds| seconds.parse())?);
    let folder = tempfile::tempdir_in(folder)?;
    let database = Arc::new(LocalDatabaseOperate::open(LocalOptions::new(folder.path().join("nacos.db")))?);
    let content: Value = "0123456789abcde\n".repeat(64).into();
    let numbers = Arc::new(AtomicU64::new(1));
    for tasks in [1, 32, 256, 2048] {
        let begun = Instant::now();
        let mut running = Vec::with_capacity(tasks);
        for _ in 0..tasks {
            let (database, content, numbers) = (Arc::clone(&database), content.clone(), Arc::clone(&numbers));
            running.push(tokio::spawn(async move {
                let mut done = 0_u64;
                while begun.elapsed() < time {
                    database.execute(publish(numbers.fetch_add(1, Ordering::Relaxed), &content)).await?;
                    done += 1;
                }
                Ok::<_, StorageError>(done)
            }));
        }
        let mut done = 0;
        for task in running {
            done += task.await??;
        }
        #[expect(clippy::print_stdout, reason = "this is what it is for")]
        {
            println!("{tasks:>5} tasks: {:>7.0} batches/s", done as f64 / begun.elapsed().as_secs_f64());
        }
    }
    database.close().await?;
    Ok(())
}
