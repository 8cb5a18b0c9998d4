//! The embedded database passes the suite that all storage backends must pass.

use std::sync::Arc;

use nacos_core::storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions};
use tempfile::TempDir;

async fn open() -> (Arc<dyn DatabaseOperate>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = LocalOptions::new(folder.path().join("nacos.db"));
    (Arc::new(LocalDatabaseOperate::open(options).expect("a new database")), folder)
}

nacos_core::storage_conformance!(open);
